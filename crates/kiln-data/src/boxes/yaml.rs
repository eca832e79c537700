//! As much of YAML as descriptions of YOLO sets have: keys with a word, a list of words, or words by number.
//!
//! Values of other keys, such as a script that downloads the set, are passed over. There are no anchors, which can make a
//! small file large.

/// A value at the top of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Word(String),
    List(Vec<String>),
    /// By key, in the order of the file.
    Table(Vec<(String, String)>),
}

/// Keys at the top of a file, each with its line.
pub(super) type Document = Vec<(usize, String, Value)>;

/// What is wrong, and in which line.
pub(super) type Fault = (usize, String);

/// The values of the keys that `wanted` names.
pub(super) fn parse(text: &str, wanted: &[&str]) -> Result<Document, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect();
    let mut document = Document::new();
    let mut at = 0;
    while at < lines.len() {
        let (line, content) = lines[at];
        at += 1;
        let content = uncommented(content);
        if content.trim().is_empty() || content == "---" || content == "..." {
            continue;
        }
        // What is indented, or an item at the margin, belongs to the key above.
        let block = lines[at..].iter().take_while(|(_, next)| {
            let bare = uncommented(next);
            bare.trim().is_empty() || bare.starts_with([' ', '\t', '-']) && bare != "---"
        });
        let block: Vec<(usize, &str)> = block.copied().collect();
        let Some((key, value)) = pair(content) else {
            return Err((line, format!("expected `key: value`, found `{}`", short(content))));
        };
        if content.starts_with([' ', '\t', '-']) {
            return Err((line, format!("`{}` belongs to no key", short(content.trim()))));
        }
        at += block.len();
        if !wanted.contains(&key.as_str()) {
            continue;
        }
        if document.iter().any(|(_, known, _)| *known == key) {
            return Err((line, format!("a second `{key}`")));
        }
        let value = match value {
            "" => nested(&block)?,
            flow if flow.starts_with(['[', '{']) => {
                let rest: Vec<&str> = block.iter().map(|(_, line)| uncommented(line)).collect();
                flowing(&format!("{flow} {}", rest.join(" "))).map_err(|reason| (line, reason))?
            }
            other if other.starts_with(['|', '>', '&', '*', '!']) => {
                return Err((
                    line,
                    format!("`{key}` must be a plain value, found `{}`", short(other)),
                ));
            }
            word => Value::Word(unquoted(word).map_err(|reason| (line, reason))?),
        };
        document.push((line, key, value));
    }
    Ok(document)
}

/// A list or a table below its key.
fn nested(block: &[(usize, &str)]) -> Result<Value, Fault> {
    let mut list = Vec::new();
    let mut table = Vec::new();
    for &(line, content) in block {
        let content = uncommented(content).trim();
        if content.is_empty() {
            continue;
        }
        let wrong = |reason| (line, reason);
        if let Some(item) = content.strip_prefix('-').filter(|item| item.starts_with([' ', '\t'])) {
            list.push(unquoted(item.trim()).map_err(wrong)?);
        } else if let Some((key, value)) = pair(content) {
            table.push((key, unquoted(value).map_err(wrong)?));
        } else {
            return Err((
                line,
                format!("expected `- item` or `key: value`, found `{}`", short(content)),
            ));
        }
        if !list.is_empty() && !table.is_empty() {
            return Err((line, "a list and a table in one".to_owned()));
        }
    }
    Ok(if table.is_empty() { Value::List(list) } else { Value::Table(table) })
}

/// Whether a value begins here, which may have quotes.
fn begins(items: &[String]) -> bool {
    let before = items.last().map_or("", |item| item.trim_end());
    before.is_empty() || before.ends_with(':')
}

/// `[a, b]` or `{0: a, 1: b}`.
fn flowing(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let (open, close) = if text.starts_with('[') { ('[', ']') } else { ('{', '}') };
    let inside = text.strip_prefix(open).and_then(|text| text.strip_suffix(close));
    let Some(inside) = inside else {
        return Err(format!("`{open}` without `{close}` at the end"));
    };
    let mut items: Vec<String> = vec![String::new()];
    let mut quote = None;
    for c in inside.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            // Within a word it is an apostrophe.
            None if matches!(c, '"' | '\'') && begins(&items) => quote = Some(c),
            None if c == ',' => {
                items.push(String::new());
                continue;
            }
            None if "[]{}".contains(c) => return Err("lists and tables can't be nested".to_owned()),
            _ => {}
        }
        items.last_mut().expect("there is always one").push(c);
    }
    if items.last().is_some_and(|item| item.trim().is_empty()) {
        items.pop();
    }
    if open == '[' {
        return items
            .iter()
            .map(|item| unquoted(item.trim()))
            .collect::<Result<_, _>>()
            .map(Value::List);
    }
    let pairs = items.iter().map(|item| {
        let (key, value) = pair(item.trim())
            .ok_or_else(|| format!("expected `key: value`, found `{}`", short(item)))?;
        Ok((key, unquoted(value)?))
    });
    pairs.collect::<Result<_, String>>().map(Value::Table)
}

/// `key: value`, the key without quotes.
fn pair(content: &str) -> Option<(String, &str)> {
    let start = content.trim_start();
    let (key, value) = match start.chars().next()? {
        quote @ ('"' | '\'') => {
            let (key, rest) = start[1..].split_once(quote)?;
            (key, rest.trim_start().strip_prefix(':')?)
        }
        _ => {
            let end = start.find(": ").or_else(|| start.strip_suffix(':').map(str::len))?;
            (start[..end].trim(), &start[end + 1..])
        }
    };
    Some((key.to_owned(), value.trim()))
}

/// A word without its quotes.
fn unquoted(text: &str) -> Result<String, String> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return Ok(text.to_owned());
    };
    match text[1..].strip_suffix(quote) {
        Some(inside) if quote == '\'' => Ok(inside.replace("''", "'")),
        Some(inside) => {
            let mut word = String::new();
            let mut chars = inside.chars();
            while let Some(c) = chars.next() {
                match (c, c == '\\') {
                    (_, true) => match chars.next() {
                        Some(c @ ('"' | '\\' | '/')) => word.push(c),
                        other => {
                            let other = other.map_or(String::new(), String::from);
                            return Err(format!("`\\{other}` in quotes is not supported"));
                        }
                    },
                    (c, false) => word.push(c),
                }
            }
            Ok(word)
        }
        None => Err(format!("`{}` has no second quote", short(text))),
    }
}

/// `line` without what follows a `#`.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some('"') if before == '\\' => {
                before = ' '; // and not a backslash for what follows
                continue;
            }
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') && " \t[{,:".contains(before) => quote = Some(c),
            None if c == '#' && before.is_whitespace() => return line[..at].trim_end(),
            None => {}
        }
        before = c;
    }
    line.trim_end()
}

/// As much of `text` as a message can take.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `word` so that it is read as a word whatever is in it.
pub(super) fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}
