#!/usr/bin/env python3
"""options.conf as nffi would hand it over: JSON, on standard output. With NAME=VALUE arguments more options."""

import json
import shlex
import sys


def read(path):
    lexer = shlex.shlex(open(path, encoding="utf-8"), posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    words, options = [], {}
    for token in lexer:
        if token.strip(";"):
            words.append(token)
        elif words:
            options.setdefault(words[0], []).append(words[1:])
            words = []
    return options


def value(occurrences):
    if len(occurrences) == 1 and len(occurrences[0]) <= 1:
        return occurrences[0][0] if occurrences[0] else True
    if all(len(words) == 1 for words in occurrences):
        return [words[0] for words in occurrences]
    return occurrences


options = read(sys.argv[1])
for more in sys.argv[2:]:
    name, _, text = more.partition("=")
    options[name] = [[text]]
print(json.dumps({name: value(occurrences) for name, occurrences in options.items()}))
