#!/bin/sh
# List one interpreter for each minor version of Python from 3.11 on that can make virtual environments: the one on PATH,
# or else pyenv's.
for minor in 11 12 13 14 15; do
    for python in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/"python3.$minor"; do
        if path=$("$python" -c 'import ensurepip, sys, venv; print(sys.executable)' 2>/dev/null) && [ -n "$path" ]; then
            echo "$path"
            break
        fi
    done
done
