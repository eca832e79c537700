//! Pictures, tables and words in one self-contained HTML file.
//!
//! No script, no font and no file from elsewhere: the page can be mailed, archived and opened in ten years. It follows the
//! reader's light or dark scheme, reads well on a phone, and prints.

use std::fmt::Write;
use std::path::Path;

use crate::error::Error;
use crate::gallery::Card;
use crate::html::{base64, escape, slug, toml};
use crate::picture::{Effort, Picture, encode, write_whole};
use crate::tiles::into_box;
use crate::units;

/// Images of a gallery are stored at most this many pixels wide and high.
const THUMBNAIL: u32 = 192;
/// Images up to this many pixels are shown with their pixels visible.
const PIXELATED: u32 = 64;

/// A headline number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The number with its unit, such as `98.9 %`.
    pub value: String,
    /// What it is, such as `top-1 accuracy`.
    pub name: String,
    /// One more line, such as `2,000 held-out digits`; may be empty.
    pub note: String,
}

impl Metric {
    /// A headline number.
    pub fn new(value: impl Into<String>, name: impl Into<String>, note: impl Into<String>) -> Self {
        Self { value: value.into(), name: name.into(), note: note.into() }
    }
}

/// A page under construction; each call appends, [`render`](Self::render) ends it. All texts are escaped.
#[derive(Debug, Clone, Default)]
pub struct Report {
    title: String,
    lead: String,
    badge: Option<(String, bool)>,
    refresh: Option<u32>,
    effort: Effort,
    footer: String,
    sections: Vec<(String, String)>,
    body: String,
}

impl Report {
    /// An empty page.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// The sentence below the title.
    pub fn lead(self, text: impl Into<String>) -> Self {
        Self { lead: text.into(), ..self }
    }

    /// A label above the title that says how things stand; `live` marks work in progress.
    pub fn badge(self, text: impl Into<String>, live: bool) -> Self {
        Self { badge: Some((text.into(), live)), ..self }
    }

    /// Lets an open page load itself again every so many seconds: for a report that is still written to.
    ///
    /// Pictures added after this call are packed quickly rather than tightly.
    pub fn refresh(self, seconds: u32) -> Self {
        Self { refresh: Some(seconds.max(1)), effort: Effort::Fast, ..self }
    }

    /// The line at the foot of the page.
    pub fn footer(self, text: impl Into<String>) -> Self {
        Self { footer: text.into(), ..self }
    }

    /// Headline numbers.
    pub fn metrics(mut self, metrics: &[Metric]) -> Self {
        self.push("<dl class=\"metrics\">");
        for Metric { value, name, note } in metrics {
            let (name, value, note) = (escape(name), escape(value), escape(note));
            self.push(&format!(
                "<div><dt>{name}</dt><dd><strong>{value}</strong><span>{note}</span></dd></div>"
            ));
        }
        self.push("</dl>\n");
        self
    }

    /// Starts a section that the table of contents lists.
    pub fn section(mut self, heading: &str) -> Self {
        let base = slug(heading);
        let taken = |id: &str| self.sections.iter().any(|(other, _)| other == id);
        let id = (1..)
            .map(|i| if i == 1 { base.clone() } else { format!("{base}-{i}") })
            .find(|id| !taken(id));
        let id = id.unwrap_or(base);
        self.push(&format!("<h2 id=\"{id}\">{}</h2>\n", escape(heading)));
        self.sections.push((id, heading.to_owned()));
        self
    }

    /// A heading within a section.
    pub fn subsection(mut self, heading: &str) -> Self {
        self.push(&format!("<h3>{}</h3>\n", escape(heading)));
        self
    }

    /// A paragraph.
    pub fn text(mut self, text: &str) -> Self {
        self.push(&format!("<p>{}</p>\n", escape(text)));
        self
    }

    /// A picture with a text for those who cannot see it and a caption for all.
    pub fn picture(mut self, picture: &Picture, alt: &str, caption: &str) -> Self {
        let html = figure(picture, alt, caption, self.effort);
        self.push(&html);
        self
    }

    /// Pictures side by side where the page is wide enough: `(picture, alt, caption)`.
    pub fn pictures(mut self, pictures: &[(&Picture, &str, &str)]) -> Self {
        self.push("<div class=\"pair\">\n");
        for (picture, alt, caption) in pictures {
            let html = figure(picture, alt, caption, self.effort);
            self.push(&html);
        }
        self.push("</div>\n");
        self
    }

    /// Predictions as cards, as many in a row as fit.
    pub fn gallery(mut self, cards: &[Card], caption: &str) -> Self {
        self.push("<figure class=\"plain\"><ul class=\"cards\">\n");
        for card in cards {
            let (width, height) = card.image.dimensions();
            let image = if width.max(height) > THUMBNAIL {
                into_box(&card.image, THUMBNAIL)
            } else {
                card.image.clone()
            };
            let source =
                if image.is_empty() { String::new() } else { data_url(&image, self.effort) };
            let pixelated = if width.max(height) <= PIXELATED { " class=\"pixels\"" } else { "" };
            let (kind, word) = match card.right {
                Some(true) => (" class=\"right\"", "right: "),
                Some(false) => (" class=\"wrong\"", "wrong: "),
                None => ("", ""),
            };
            let (caption, note) = (escape(&card.caption), escape(&card.note));
            let note_html =
                if note.is_empty() { String::new() } else { format!("<span>{note}</span>") };
            let alt = format!("{word}{caption} {note}");
            self.push(&format!(
                "<li{kind}><img{pixelated} alt=\"{}\" width=\"{}\" height=\"{}\" src=\"{source}\"><b>{caption}</b>{note_html}</li>\n",
                alt.trim_end(),
                image.width(),
                image.height()
            ));
        }
        self.push("</ul>");
        if !caption.is_empty() {
            self.push(&format!("<figcaption>{}</figcaption>", escape(caption)));
        }
        self.push("</figure>\n");
        self
    }

    /// Names with fractions between 0 and 1 as bars, such as the confidences of one prediction.
    pub fn bars(mut self, bars: &[(String, f64)], caption: &str) -> Self {
        self.push("<figure class=\"plain\"><ol class=\"bars\" role=\"list\">\n");
        for (name, fraction) in bars {
            let width = if fraction.is_finite() { fraction.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
            let (name, value) = (escape(name), escape(&units::percent(*fraction, 2)));
            self.push(&format!("<li><span>{name}</span><i><u style=\"width:{width:.2}%\"></u></i><b>{value}</b></li>\n"));
        }
        self.push(&format!("</ol><figcaption>{}</figcaption></figure>\n", escape(caption)));
        self
    }

    /// A table; columns of numbers are set flush right.
    pub fn table(mut self, headers: &[&str], rows: &[Vec<String>], caption: &str) -> Self {
        let html = table(headers, rows, caption);
        self.push(&html);
        self
    }

    /// A table behind a line that opens it, for numbers few readers want.
    pub fn folded_table(mut self, summary: &str, headers: &[&str], rows: &[Vec<String>]) -> Self {
        let html = table(headers, rows, "");
        self.push(&format!("<details><summary>{}</summary>\n{html}</details>\n", escape(summary)));
        self
    }

    /// Names with their values, in two columns.
    pub fn facts(mut self, facts: &[(String, String)]) -> Self {
        self.push("<dl class=\"facts\">\n");
        for (name, value) in facts {
            self.push(&format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value)));
        }
        self.push("</dl>\n");
        self
    }

    /// A TOML file as it is.
    pub fn code(mut self, text: &str, caption: &str) -> Self {
        self.push(&format!(
            "<figure class=\"plain\"><pre tabindex=\"0\"><code>{}</code></pre>",
            toml(text)
        ));
        self.push(&format!("<figcaption>{}</figcaption></figure>\n", escape(caption)));
        self
    }

    /// The whole page.
    pub fn render(&self) -> String {
        let title = escape(&self.title);
        let mut page = String::with_capacity(self.body.len() + 16 * 1024);
        page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n");
        page.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n");
        if let Some(seconds) = self.refresh {
            page.push_str(&format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"));
        }
        page.push_str(&format!(
            "<title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
            include_str!("report.css")
        ));
        page.push_str("<a class=\"skip\" href=\"#content\">Skip to the content</a>\n<header>\n");
        if let Some((text, live)) = &self.badge {
            let class = if *live { "badge live" } else { "badge" };
            page.push_str(&format!("<p class=\"{class}\">{}</p>\n", escape(text)));
        }
        page.push_str(&format!("<h1>{title}</h1>\n"));
        if !self.lead.is_empty() {
            page.push_str(&format!("<p class=\"lead\">{}</p>\n", escape(&self.lead)));
        }
        page.push_str("</header>\n");
        if self.sections.len() > 1 {
            page.push_str("<nav aria-label=\"Contents\"><ol>\n");
            for (id, heading) in &self.sections {
                page.push_str(&format!("<li><a href=\"#{id}\">{}</a></li>\n", escape(heading)));
            }
            page.push_str("</ol></nav>\n");
        }
        page.push_str(&format!("<main id=\"content\">\n{}</main>\n", self.body));
        if !self.footer.is_empty() {
            page.push_str(&format!("<footer>{}</footer>\n", escape(&self.footer)));
        }
        page.push_str("</body>\n</html>\n");
        page
    }

    /// Writes the page, whole or not at all: whoever reads it meanwhile sees the old one.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        write_whole(path, self.render().as_bytes())
    }

    fn push(&mut self, html: &str) {
        self.body.push_str(html);
    }
}

fn data_url(image: &image::RgbImage, effort: Effort) -> String {
    format!("data:image/png;base64,{}", base64(&encode(image, effort)))
}

fn figure(picture: &Picture, alt: &str, caption: &str, effort: Effort) -> String {
    let (width, height) = picture.points();
    let alt = escape(alt);
    let image = |class: &str, image: &image::RgbImage| {
        let source = data_url(image, effort);
        format!(
            "<img class=\"{class}\" alt=\"{alt}\" width=\"{width}\" height=\"{height}\" src=\"{source}\">"
        )
    };
    // The style sheet shows one of the two. A `<picture>` would keep the dark one on paper: browsers choose its source
    // for the screen.
    let images = if picture.dark == picture.light {
        image("photo", &picture.light)
    } else {
        image("light", &picture.light) + &image("dark", &picture.dark)
    };
    let mut html = format!("<figure>{images}");
    if !caption.is_empty() {
        let _ = write!(html, "<figcaption>{}</figcaption>", escape(caption));
    }
    html + "</figure>\n"
}

/// Whether a cell reads as a number: digits first, perhaps after a sign, and few letters after.
fn numeric(cell: &str) -> bool {
    let rest = cell.trim_start_matches(['−', '-', '+', '±', '<', '\u{a0}']);
    cell.is_empty()
        || cell == "–"
        || (rest.starts_with(|c: char| c.is_ascii_digit())
            && !rest.contains('×')
            && rest.chars().filter(|c| c.is_alphabetic()).count() <= 3)
}

fn table(headers: &[&str], rows: &[Vec<String>], caption: &str) -> String {
    let right: Vec<bool> = (0..headers.len())
        .map(|i| {
            !rows.is_empty() && rows.iter().all(|row| row.get(i).is_none_or(|cell| numeric(cell)))
        })
        .collect();
    let class =
        |i: usize| if right.get(i).copied().unwrap_or(false) { " class=\"number\"" } else { "" };
    let label = if caption.is_empty() { headers.join(", ") } else { caption.to_owned() };
    let mut html = format!(
        "<figure><div class=\"table\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table>\n",
        escape(&label)
    );
    html.push_str("<thead><tr>");
    for (i, header) in headers.iter().enumerate() {
        let _ = write!(html, "<th scope=\"col\"{}>{}</th>", class(i), escape(header));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let _ = write!(html, "<td{}>{}</td>", class(i), escape(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>");
    if !caption.is_empty() {
        let _ = write!(html, "<figcaption>{}</figcaption>", escape(caption));
    }
    html + "</figure>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    fn square() -> Picture {
        Picture {
            light: RgbImage::new(8, 8),
            dark: RgbImage::from_pixel(8, 8, image::Rgb([9, 9, 9])),
        }
    }

    #[test]
    fn every_text_is_escaped_wherever_it_stands() {
        let evil = "<script>\"'&";
        let strings = || vec![evil.to_owned()];
        let page = Report::new(evil)
            .lead(evil)
            .badge(evil, true)
            .footer(evil)
            .metrics(&[Metric::new(evil, evil, evil)])
            .section(evil)
            .section(evil)
            .subsection(evil)
            .text(evil)
            .picture(&square(), evil, evil)
            .gallery(
                &[Card {
                    image: RgbImage::new(2, 2),
                    caption: evil.into(),
                    note: evil.into(),
                    right: Some(true),
                }],
                evil,
            )
            .bars(&[(evil.to_owned(), 0.5)], evil)
            .table(&[evil], &[strings()], evil)
            .folded_table(evil, &[evil], &[strings()])
            .facts(&[(evil.to_owned(), evil.to_owned())])
            .code(evil, evil)
            .render();
        assert!(!page.contains("<script"));
        assert!(page.matches("&lt;script&gt;&quot;&#39;&amp;").count() >= 24);
    }

    #[test]
    fn a_card_is_right_wrong_or_neither_in_colour_and_in_words() {
        let page = |right| {
            let card = Card { right, ..Card::new(RgbImage::new(2, 2), "7") };
            Report::new("r").gallery(&[card], "").render()
        };
        for (right, item, words) in [
            (Some(true), "<li class=\"right\">", "alt=\"right: 7\""),
            (Some(false), "<li class=\"wrong\">", "alt=\"wrong: 7\""),
            (None, "<li>", "alt=\"7\""),
        ] {
            let page = page(right);
            assert!(page.contains(item) && page.contains(words), "{right:?}");
        }
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        let page = Report::new("r").section("a").picture(&square(), "a square", "").render();
        assert!(
            !page.contains("http://")
                && !page.contains("https://")
                && !page.contains("<script")
                && !page.contains("url(")
        );
        assert!(page.contains("default-src 'none'") && page.contains("alt=\"a square\""));
    }

    #[test]
    fn sections_of_one_name_have_links_of_their_own() {
        let page = Report::new("r").section("Curves").section("Curves").render();
        assert!(page.contains("<a href=\"#curves\">") && page.contains("<a href=\"#curves-2\">"));
        assert!(page.contains("<h2 id=\"curves\">") && page.contains("<h2 id=\"curves-2\">"));
    }

    #[test]
    fn a_picture_has_a_dark_side_only_where_it_differs() {
        let same = Picture { light: RgbImage::new(8, 8), dark: RgbImage::new(8, 8) };
        let sources = |picture: &Picture| {
            Report::new("r")
                .picture(picture, "", "")
                .render()
                .matches("<img class=\"dark\"")
                .count()
        };
        assert_eq!((sources(&square()), sources(&same)), (1, 0));
    }

    #[test]
    fn numbers_stand_flush_right_and_shapes_do_not() {
        let rows = [
            vec!["c1".to_owned(), "6×28×28".into(), "156".into()],
            vec!["s2".into(), "6×14×14".into(), "1,176 k".into()],
        ];
        let page = Report::new("r").table(&["layer", "output", "parameters"], &rows, "").render();
        assert!(
            page.contains("<td class=\"number\">156</td>") && page.contains("<td>6×28×28</td>")
        );
    }

    #[test]
    fn tags_are_closed() {
        let page = Report::new("r")
            .section("a")
            .text("b")
            .pictures(&[(&square(), "x", "y")])
            .gallery(&[], "")
            .render();
        for tag in
            ["html", "body", "main", "header", "figure", "ul", "div", "p", "h1", "h2", "style"]
        {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
