# Every wrong configuration is refused by nginx -t with file, line and reason (conf.py: Test::Nginx would retry
# each of them for half a minute).
use FindBin;

exec 'python3', "$FindBin::Bin/conf.py", '--tap' or die "python3: $!";
