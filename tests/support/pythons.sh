#!/bin/sh
# Print one interpreter for each installed minor version of Python from 3.11 on: the one on PATH, else pyenv's.
for minor in 11 12 13 14 15; do
    for python in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/"python3.$minor"; do
        if path=$("$python" -c 'import sys; print(sys.executable)' 2>/dev/null) && [ -n "$path" ]; then
            echo "$path"
            break
        fi
    done
done
