# Judges the samples of memory that Test::Nginx prints in its leak mode; it judges nothing itself, and its slope k swings
# where a test allocates and frees many megabytes. Compared here: the lowest sample of the first third with that of
# the last. Prints "GROWTH NAME" for each test, GROWTH in KiB a sample.
/ TEST [0-9]+: / && !/ - / { name = $0 }
/^LeakTest: \[/ {
  gsub(/[^0-9 ]/, "")
  third = int(NF / 3)
  if (third < 10) { printf "few-samples %s\n", name; next }
  first = last = -1
  for (i = 1; i <= third; i++) {
    if (first < 0 || $i < first) first = $i
    if (last < 0 || $(NF - i + 1) < last) last = $(NF - i + 1)
  }
  printf "%.1f %s\n", (last - first) / (NF - third), name
}
