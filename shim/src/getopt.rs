//! HyperKit's options as getopt(3) of macOS cuts them: grouped, joined or separate, none after `--`
//! or the first operand.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

/// moby/hyperkit src/hyperkit.c, 3cb0d54.
const OPTIONS: &[u8] = b"behvuwxMACHPWY:f:F:g:c:s:m:l:U:";

/// One option as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opt<'a> {
    pub(crate) letter: u8,
    /// Empty for an option that takes none.
    pub(crate) value: &'a [u8],
    /// Index of the argument that follows this option.
    pub(crate) next: usize,
}

/// All options in order; `None` where HyperKit would print its usage and end.
pub(crate) fn options(arguments: &[OsString]) -> Option<Vec<Opt<'_>>> {
    let mut options = Vec::new();
    let mut at = 0;
    while let Some(argument) = arguments.get(at) {
        let Some(group) = argument.as_bytes().strip_prefix(b"-") else {
            break;
        };
        if group.is_empty() || group == b"-" {
            break;
        }
        at += 1;
        for (position, &letter) in group.iter().enumerate() {
            if !takes_value(letter)? {
                options.push(Opt {
                    letter,
                    value: b"",
                    next: at,
                });
                continue;
            }
            let joined = group.get(position + 1..).unwrap_or_default();
            let value = if joined.is_empty() {
                at += 1;
                arguments.get(at - 1)?.as_bytes()
            } else {
                joined
            };
            options.push(Opt {
                letter,
                value,
                next: at,
            });
            break;
        }
    }
    Some(options)
}

fn takes_value(letter: u8) -> Option<bool> {
    let position = OPTIONS.iter().position(|&it| it == letter && it != b':')?;
    Some(OPTIONS.get(position + 1) == Some(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(line: &str) -> Option<Vec<(char, String, usize)>> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let options = options(&arguments)?.into_iter().map(|it| {
            let value = String::from_utf8(it.value.to_vec()).unwrap();
            (char::from(it.letter), value, it.next)
        });
        Some(options.collect())
    }

    fn opt(letter: char, value: &str, next: usize) -> (char, String, usize) {
        (letter, value.to_owned(), next)
    }

    #[test]
    fn values_are_joined_or_separate_and_flags_are_grouped() {
        let expected = Some(vec![opt('s', "2:1,virtio-rnd", 1)]);
        assert_eq!(cut("-s2:1,virtio-rnd"), expected);
        let expected = Some(vec![
            opt('A', "", 1),
            opt('b', "", 1),
            opt('s', "2:1,x", 1),
            opt('c', "4", 3),
        ]);
        assert_eq!(cut("-Abs2:1,x -c 4"), expected);
        let expected = Some(vec![opt('u', "", 1), opt('s', "3,lpc", 2)]);
        assert_eq!(cut("-us 3,lpc"), expected);
    }

    #[test]
    fn a_value_may_begin_with_a_dash_or_be_empty() {
        assert_eq!(cut("-f -s"), Some(vec![opt('f', "-s", 2)]));
        assert_eq!(cut("-f  -A"), Some(vec![opt('f', "", 2), opt('A', "", 3)]));
        assert_eq!(cut("-f --"), Some(vec![opt('f', "--", 2)]));
    }

    #[test]
    fn options_end_at_a_double_dash_an_operand_or_a_lone_dash() {
        for end in ["--", "vm", "-"] {
            assert_eq!(cut(&format!("-A {end} -s")), Some(vec![opt('A', "", 1)]));
        }
    }

    #[test]
    fn what_hyperkit_does_not_know_is_not_guessed() {
        for line in ["-z", "-A-", "--help", "-s", "-As", "-:"] {
            assert_eq!(cut(line), None, "{line}");
        }
    }
}
