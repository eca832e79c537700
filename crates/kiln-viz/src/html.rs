//! The few pieces of HTML a report is made of.

use std::fmt::Write;

/// `text` with everything that means something in HTML written out; safe as content and inside quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters have no place in a document.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `bytes` in base 64, with padding (RFC 4648 §4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sign = SIGNS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(sign) } else { '=' });
        }
    }
    out
}

/// A name for links and files: lower case letters, digits and single hyphens.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.truncate(80);
    let out = out.trim_end_matches('-');
    if out.is_empty() { "part".to_owned() } else { out.to_owned() }
}

/// TOML as HTML: comments, table headings and keys stand out.
pub(crate) fn toml(text: &str) -> String {
    let mut out = String::new();
    for line in text.trim_end().lines() {
        let trimmed = line.trim_start();
        // Writing to a string cannot fail.
        let _ = match line.split_once('=') {
            _ if trimmed.starts_with('#') => writeln!(out, "<i>{}</i>", escape(line)),
            _ if trimmed.starts_with('[') => writeln!(out, "<b>{}</b>", escape(line)),
            Some((key, value)) => writeln!(out, "<em>{}</em>={}", escape(key), escape(value)),
            None => writeln!(out, "{}", escape(line)),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_the_escaping() {
        assert_eq!(escape(r#"<b a="1" c='2'>&"#), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
        assert_eq!(escape("a\u{0}b\nc"), "a\u{fffd}b\nc");
    }

    #[test]
    fn base64_matches_the_standards_examples() {
        let pairs = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|s| base64(s.as_bytes()));
        assert_eq!(pairs, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn slugs_are_safe_for_links_and_files() {
        assert_eq!(slug("What the network learned"), "what-the-network-learned");
        assert_eq!(slug("../C1.conv/weight "), "c1-conv-weight");
        assert_eq!(slug("数字"), "part");
    }

    #[test]
    fn toml_keeps_every_character() {
        let html = toml("# <note>\n[model]\nname = \"lenet5\"\n");
        assert_eq!(
            html,
            "<i># &lt;note&gt;</i>\n<b>[model]</b>\n<em>name </em>= &quot;lenet5&quot;\n"
        );
    }
}
