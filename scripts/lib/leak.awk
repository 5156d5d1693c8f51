# Judges the samples of memory that Test::Nginx prints in its leak mode; it judges nothing itself, and its slope k swings
# where a test allocates and frees many megabytes. Compared here: a low sample of the first third with one of the
# last; the lowest tenth is left out, a moment in which such a block was not there. Prints "GROWTH NAME" for each test, GROWTH in KiB a sample.
function low(from, n,    i, j, value, sorted) {
  for (i = 1; i <= n; i++) {
    value = $(from + i - 1) + 0
    for (j = i - 1; j >= 1 && sorted[j] > value; j--) sorted[j + 1] = sorted[j]
    sorted[j + 1] = value
  }
  return sorted[int(n / 10) + 1]
}
/ TEST [0-9]+: / && !/ - / { name = $0 }
/^LeakTest: \[/ {
  gsub(/[^0-9 ]/, "")
  third = int(NF / 3)
  if (third < 10) { printf "few-samples %s\n", name; next }
  first = low(1, third)
  last = low(NF - third + 1, third)
  printf "%.1f %s\n", (last - first) / (NF - third), name
}
