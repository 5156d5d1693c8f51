# A runtime's threads leave nginx's signals alone; children and signals work as if there were no such threads.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: threads start with nginx's signals blocked
--- lua
local masks = nffi.call("fixture", "sigmask")
local init, poller = masks:match("init:(%S*) poller:(%S*)")
for _, mask in ipairs { init, poller } do
  for _, name in ipairs { "HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CHLD", "ALRM", "IO" } do
    if ("," .. mask .. ","):find("," .. name .. ",", 1, true) then
      t.show(name, "is not blocked")
    end
  end
  for _, name in ipairs { "SEGV", "BUS", "FPE", "ILL" } do
    if not ("," .. mask .. ","):find("," .. name .. ",", 1, true) then
      t.show(name, "is blocked")
    end
  end
end
t.show("done")
--- response_body
done



=== TEST 2: USR1 (reopen logs) from a runtime's thread reaches nginx and harms nothing
--- lua
for i = 1, 20 do
  t.show(nffi.call("fixture", "kill 10") == "sent" and "sent")
end
t.show(nffi.call("fixture", "echo after"))
--- response_body eval
"sent\n" x 20 . "after\n"
--- no_error_log
[alert]
[emerg]
