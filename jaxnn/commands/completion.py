"""`jaxnn completion`: a script by which a shell completes the words, flags and configs of `jaxnn`."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping

from jaxnn.commands import arguments, main
from jaxnn.commands.words import parsed
from jaxnn.config.paths import CONFIGS
from jaxnn.errors import InputError, choices

USAGE = """usage: jaxnn completion bash|zsh|fish

A script by which the shell completes commands, flags and configs with the tab key. It belongs in the file that the
shell reads when it starts:

  bash, ~/.bashrc                   eval "$(jaxnn completion bash)"
  zsh, ~/.zshrc                     eval "$(jaxnn completion zsh)"
  fish, ~/.config/fish/config.fish  jaxnn completion fish | source
"""
# After the command flags, where a word begins with -; otherwise what it takes, or the names of files.
BASH = """\
_jaxnn() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
    if [[ $COMP_CWORD -eq 1 ]]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}}" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -o bashdefault -F _jaxnn jaxnn
"""
CASE = """\
            {command})
                if [[ $word == -* ]]; then words="{flags}"
                elif [[ $COMP_CWORD -eq 2 ]]; then words="{takes}"
                fi ;;"""
ZSH = "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n"


def completion(argv: list[str]) -> int:
    """`jaxnn completion`: the exit code. Each command answers --help with a page that has its flags."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    shells = {"bash": _bash, "zsh": lambda *given: ZSH + _bash(*given), "fish": _fish}
    words, _ = parsed(argv, (), ("--traceback",))
    if len(words) != 1:
        raise InputError(f"{' '.join(['completion', *words])}: needs one shell, {', '.join(shells)}")
    if words[0] not in shells:
        raise choices("shell", words[0], shells)
    names = sorted(path.stem for path in CONFIGS.glob("*.py"))
    takes = {"train": names, "configs": names, "data": names, "completion": list(shells)}
    flags = {name: list(arguments.FLAGS) if name == "train" else _flags(name) for name in main.COMMANDS}
    print(shells[words[0]](flags, takes), end="")
    return 0


def _flags(name: str) -> list[str]:
    """Those that the page of a command's --help names; all of them for `--data.*`."""
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        main.command(name)(["--help"])
    found = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", page.getvalue()))
    if "--data" in found:
        found = found - {"--data"} | {flag for flag in arguments.FLAGS if flag.startswith("--data.")}
    return sorted({"--help", *found})


def _bash(flags: Mapping[str, list[str]], takes: Mapping[str, list[str]]) -> str:
    cases = [
        CASE.format(command=name, flags=" ".join(each), takes=" ".join(takes.get(name, ())))
        for name, each in flags.items()
    ]
    return BASH.format(commands=" ".join(flags), cases="\n".join(cases))


def _fish(flags: Mapping[str, list[str]], takes: Mapping[str, list[str]]) -> str:
    lines = [f"complete -c jaxnn -n __fish_use_subcommand -f -a '{' '.join(flags)}'"]
    for name, each in flags.items():
        condition = f"-n '__fish_seen_subcommand_from {name}'"
        lines += [f"complete -c jaxnn {condition} -l {flag.removeprefix('--')}" for flag in each]
        lines += [f"complete -c jaxnn {condition} -a '{' '.join(takes.get(name, ()))}'"] * (name in takes)
    return "\n".join(lines) + "\n"
