# Judges the samples of memory that Test::Nginx prints in its leak mode; it judges nothing itself, and its slope k swings
# where a test allocates and frees many megabytes. What is lost lifts the last third of the samples above the first: compared
# here are a high sample of the first third and a low one of the last, each without the outermost tenth. Blocks that come and go
# leave the two among each other. Prints "GROWTH NAME" for each test, GROWTH in KiB a sample, of the third between them.
function ranked(from, n, rank,    i, j, value, sorted) {
  for (i = 1; i <= n; i++) {
    value = $(from + i - 1) + 0
    for (j = i - 1; j >= 1 && sorted[j] > value; j--) sorted[j + 1] = sorted[j]
    sorted[j + 1] = value
  }
  return sorted[rank]
}
/ TEST [0-9]+: / && !/ - / { name = $0 }
/^LeakTest: \[/ {
  gsub(/[^0-9 ]/, "")
  third = int(NF / 3)
  if (third < 10) { printf "few-samples %s\n", name; next }
  outermost = int(third / 10)
  first = ranked(1, third, third - outermost)
  last = ranked(NF - third + 1, third, outermost + 1)
  printf "%.1f %s\n", (last - first) / third, name
}
