# flashling: Alt-@KEY@ turns the typed line into a command and never runs it; again for another one
set -g __flashling_more
set -g __flashling_last
function __flashling_key
    set -l line (commandline -b | string collect)
    string match -qr '\S' -- $line; or return 0
    if test "$line" = "$__flashling_last"; and count $__flashling_more >/dev/null
        set -a __flashling_more $line
        printf '\n'
    else
        printf '\n\rflashling ...' >/dev/tty
        set -l out (@FLASHLING@ suggest --count 3 --no-explain -- $line 2>&1 </dev/null)
        set -l failed $pipestatus[1]
        printf '\r\e[K' >/dev/tty
        if test $failed -ne 0
            printf '%s\n' $out
            commandline -f repaint
            return 0
        end
        set -g __flashling_more $out
    end
    set line $__flashling_more[1]
    set -e __flashling_more[1]
    set -g __flashling_last $line
    @FLASHLING@ explain -- $line 2>&1 </dev/null
    if count $__flashling_more >/dev/null
        printf '(Alt-@KEY@: %s)\n' $__flashling_more[1]
    end
    commandline -r -- $line
    commandline -f repaint
end
bind \e@KEY@ __flashling_key
bind -M insert \e@KEY@ __flashling_key
