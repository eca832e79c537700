//! Just enough of Rust's grammar to tell code from comments and strings.

/// A source line taken apart. Code keeps its columns: what isn't code is blank.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) code: String,
    pub(super) comment: String,
}

#[derive(Clone, Copy)]
enum State {
    Code,
    /// Block comments nest.
    Comment(usize),
    Text,
    /// With so many `#`.
    Raw(usize),
}

/// The lines of `source`, in order.
pub(super) fn lines(source: &str) -> Vec<Line> {
    let mut state = State::Code;
    source.lines().map(|line| split(line, &mut state)).collect()
}

fn split(text: &str, state: &mut State) -> Line {
    let characters: Vec<char> = text.chars().collect();
    let mut line = Line::default();
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let length = match *state {
            State::Code => code(rest, characters[..at].last(), state),
            State::Comment(depth) => {
                let (length, depth) = match rest {
                    ['*', '/', ..] => (2, depth - 1),
                    ['/', '*', ..] => (2, depth + 1),
                    _ => (1, depth),
                };
                *state = if depth == 0 { State::Code } else { State::Comment(depth) };
                line.comment.extend(&rest[..length]);
                Step::blank(length)
            }
            State::Text => match rest {
                ['\\', _, ..] => Step::blank(2),
                ['"', ..] => {
                    *state = State::Code;
                    Step::blank(1)
                }
                _ => Step::blank(1),
            },
            State::Raw(hashes) => {
                let closes =
                    rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= hashes;
                if closes {
                    *state = State::Code;
                }
                Step::blank(if closes { 1 + hashes } else { 1 })
            }
        };
        match length {
            Step::Comment => {
                line.comment.extend(rest);
                break;
            }
            Step::Blank(length) => {
                line.code.extend(std::iter::repeat_n(' ', length));
                at += length;
            }
            Step::Code(length) => {
                line.code.extend(&rest[..length]);
                at += length;
            }
        }
    }
    line
}

enum Step {
    Code(usize),
    Blank(usize),
    /// The rest of the line.
    Comment,
}

impl Step {
    fn blank(length: usize) -> Step {
        Step::Blank(length)
    }
}

fn code(rest: &[char], before: Option<&char>, state: &mut State) -> Step {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || *c == '_');
    match rest {
        ['/', '/', ..] => Step::Comment,
        ['/', '*', ..] => {
            *state = State::Comment(1);
            Step::Blank(2)
        }
        ['"', ..] => {
            *state = State::Text;
            Step::Blank(1)
        }
        ['r' | 'b' | 'c', ..] if !in_word => {
            let prefix = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
            let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
            let raw = rest[..prefix].contains(&'r');
            if prefix <= 2 && rest.get(prefix + hashes) == Some(&'"') && (raw || hashes == 0) {
                *state = if raw { State::Raw(hashes) } else { State::Text };
                return Step::Blank(prefix + hashes + 1);
            }
            Step::Code(1)
        }
        // A character, told from a lifetime by its closing quote.
        ['\'', '\\', ..] => {
            let close = rest.iter().skip(3).position(|&c| c == '\'');
            Step::Blank(close.map_or(rest.len(), |close| close + 4))
        }
        ['\'', _, '\'', ..] => Step::Blank(3),
        _ => Step::Code(1),
    }
}

/// True when `code` contains `word` with nothing of a name on either side.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let of_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(of_name)
            && !code[at + word.len()..].chars().next().is_some_and(of_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(source: &str) -> String {
        lines(source)
            .iter()
            .map(|line| line.code.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        assert_eq!(code_of("a(\"unsafe // x\"); // todo"), "a(             );");
        assert_eq!(code_of("a /* b\n /* c */ d */ e"), "a\n              e");
        assert_eq!(lines("x // SAFETY: y")[0].comment, "// SAFETY: y");
    }

    #[test]
    fn raw_strings_end_at_their_own_mark() {
        assert_eq!(code_of("a(r#\"x\" // \"#, b)"), "a(           , b)");
        assert_eq!(code_of("a(br\"\\\", b)"), "a(     , b)");
        assert_eq!(code_of("for b in x {}"), "for b in x {}");
    }

    #[test]
    fn escaped_quotes_stay_inside() {
        assert_eq!(code_of(r#"a("\"", b) // "#), "a(    , b)");
        assert_eq!(code_of("a('\"', '\\'', '\\u{1f}', b)"), "a(   ,     ,         , b)");
    }

    #[test]
    fn lifetimes_open_no_character() {
        assert_eq!(
            code_of("fn a<'a>(x: &'a str) -> &'a str {}"),
            "fn a<'a>(x: &'a str) -> &'a str {}"
        );
    }

    #[test]
    fn strings_run_over_lines() {
        assert_eq!(code_of("a(\"x\n // unsafe\n\", b)"), "a(\n\n , b)");
    }

    #[test]
    fn a_word_is_not_a_part_of_a_name() {
        assert!(has_word("unsafe { }", "unsafe"));
        assert!(!has_word("deny(unsafe_code)", "unsafe"));
        assert!(!has_word("not_unsafe", "unsafe"));
    }
}
