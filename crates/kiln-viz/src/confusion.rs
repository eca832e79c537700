//! The confusion matrix: which class was taken for which.

use crate::Theme;
use crate::canvas::{Align, Canvas, MARGIN, SCALE, Style, wrap};
use crate::error::{Error, check_length};
use crate::picture::Picture;
use crate::units;

/// Points the cells may take in each direction.
const ROOM: f32 = 560.0;
/// A cell smaller than this has no place for a number.
const NUMBERED: f32 = 21.0;
/// A cell smaller than this has no place for a name beside it; then every n-th class is named.
const NAMED: f32 = 12.0;

/// Draws a confusion matrix.
///
/// `counts` holds `classes.len()` rows, one a true class, of `classes.len()` predicted classes each. Blue cells on the
/// diagonal are right, orange ones are mistakes; the shade is the share of the row, for mistakes by its square root so
/// that rare ones show. More classes than pixels are drawn in groups.
///
/// # Errors
///
/// Fails if `counts` is not `classes.len()` squared long.
pub fn confusion(counts: &[u64], classes: &[String]) -> Result<Picture, Error> {
    let n = classes.len();
    check_length("confusion matrix", &[n, n], counts.len())?;
    let matrix = Matrix::new(counts, n);
    Ok(Picture::draw(|theme| draw(&matrix, classes, theme)))
}

/// Counts in groups of classes small enough to draw.
struct Matrix {
    n: usize,
    /// Classes in one row; 1 unless there are more classes than pixels.
    group: usize,
    counts: Vec<u64>,
}

impl Matrix {
    fn new(counts: &[u64], classes: usize) -> Self {
        let group = classes.div_ceil((ROOM * SCALE as f32) as usize).max(1);
        let n = classes.div_ceil(group);
        let mut grouped = vec![0u64; n * n];
        for (i, &count) in counts.iter().enumerate() {
            let (row, column) = (i / classes / group, i % classes / group);
            grouped[row * n + column] = grouped[row * n + column].saturating_add(count);
        }
        Self { n, group, counts: grouped }
    }

    fn count(&self, row: usize, column: usize) -> u64 {
        self.counts[row * self.n + column]
    }

    /// The share of its row in a cell, 0 for an empty row.
    fn share(&self, row: usize, column: usize) -> f32 {
        let total: u64 = self.counts[row * self.n..(row + 1) * self.n]
            .iter()
            .fold(0, |a, &b| a.saturating_add(b));
        if total == 0 { 0.0 } else { (self.count(row, column) as f64 / total as f64) as f32 }
    }

    fn colour(&self, row: usize, column: usize, theme: &Theme) -> image::Rgb<u8> {
        let share = self.share(row, column);
        match (row == column, share > 0.0) {
            (_, false) => theme.neutral,
            (true, true) => theme.diverging(-share),
            (false, true) => theme.diverging(0.22 + 0.78 * share.sqrt()),
        }
    }
}

fn draw(matrix: &Matrix, classes: &[String], theme: &'static Theme) -> Canvas {
    let n = matrix.n;
    let cell = (ROOM / n.max(1) as f32).clamp(1.0 / SCALE as f32, 42.0);
    // Whole pixels, so that all cells are alike.
    let cell = (cell * SCALE as f32).floor() / SCALE as f32;
    let (side, numbered) = (cell * n as f32, cell >= NUMBERED);
    let gap = if cell >= 8.0 { 1.0 } else { 0.0 };
    let label = Style::new(if numbered { 11.5 } else { (cell - 1.5).clamp(8.0, 10.5) }, theme.ink);
    let small = Style::new(11.0, theme.muted);

    let every = if cell >= NAMED { 1 } else { (NAMED / cell).ceil() as usize };
    let named = |i: usize| label.fit(&classes[i * matrix.group], 120.0);
    let names: Vec<String> =
        (0..n).map(|i| if i % every == 0 { named(i) } else { String::new() }).collect();
    let longest = names.iter().map(|name| label.width(name)).fold(0.0, f32::max);
    let upright = longest > cell - 3.0;

    let left = MARGIN + longest.max(small.width("true ↓")) + 10.0;
    let top = MARGIN + 48.0 + if upright { longest + 6.0 } else { 16.0 };
    let recall_width = if numbered { 54.0 } else { 0.0 };
    let width = (left + side + recall_width + MARGIN).max(300.0);
    let key = "Rows are true classes, columns predicted ones. Blue: right; orange: mistaken, the stronger the larger its share of the row.";
    let key = wrap(key, width - 2.0 * MARGIN, &small);
    let mut canvas =
        Canvas::new(theme, width, top + side + 16.0 + key.len() as f32 * 16.0 + MARGIN - 4.0);

    let total = matrix.counts.iter().fold(0u64, |a, &b| a.saturating_add(b));
    let right = (0..n).fold(0u64, |a, i| a.saturating_add(matrix.count(i, i)));
    let mut note = format!("{} of {} right", units::count(right), units::count(total));
    if matrix.group > 1 {
        note = format!("in groups of {} classes", matrix.group);
    }
    canvas.title("Confusion matrix", &note);
    canvas.text("predicted →", left, MARGIN + 34.0, &small);
    let beside_columns = top - if upright { 14.0 } else { 12.0 };
    canvas.text("true ↓", left - 10.0, beside_columns, &small.align(Align::Right));
    if numbered {
        canvas.text(
            "recall",
            left + side + recall_width - 4.0,
            beside_columns,
            &small.align(Align::Right),
        );
    }
    for (i, name) in names.iter().enumerate() {
        let middle = (i as f32 + 0.5) * cell;
        canvas.text(name, left - 10.0, top + middle, &label.align(Align::Right));
        if upright {
            canvas.text_up(name, left + middle, top - 8.0, &label);
        } else {
            canvas.text(name, left + middle, top - 12.0, &label.align(Align::Centre));
        }
    }
    for row in 0..n {
        for column in 0..n {
            let (x, y) = (left + column as f32 * cell, top + row as f32 * cell);
            let paper = matrix.colour(row, column, theme);
            canvas.fill(x, y, cell - gap, cell - gap, paper);
            let count = matrix.count(row, column);
            if numbered && count > 0 {
                number(&mut canvas, count, [x, y, cell], paper);
            }
        }
        if numbered {
            let total: u64 =
                (0..n).fold(0, |a, column| a.saturating_add(matrix.count(row, column)));
            let recall = if total == 0 {
                "–".to_owned()
            } else {
                units::percent(f64::from(matrix.share(row, row)), 1)
            };
            canvas.text(
                &recall,
                left + side + recall_width - 4.0,
                top + (row as f32 + 0.5) * cell,
                &small.align(Align::Right),
            );
        }
    }
    for (i, line) in key.iter().enumerate() {
        canvas.text(line, MARGIN, top + side + 20.0 + i as f32 * 16.0, &small);
    }
    canvas
}

/// Writes a count into its cell, shortened and then made smaller until it fits.
fn number(canvas: &mut Canvas, count: u64, [x, y, cell]: [f32; 3], paper: image::Rgb<u8>) {
    let ink = canvas.theme.ink_on(paper);
    let mut text =
        if count < 10_000 { count.to_string() } else { units::short(count).replace('\u{a0}', "") };
    let mut style = Style::new((cell * 0.34).clamp(8.0, 12.0), ink).align(Align::Centre);
    while style.width(&text) > cell - 3.0 && style.size > 6.0 {
        style.size -= 0.5;
    }
    if style.width(&text) > cell - 3.0 {
        text = units::short(count).replace('\u{a0}', "");
    }
    canvas.text(&text, x + cell / 2.0 - 0.5, y + cell / 2.0 - 0.5, &style);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("class {i}")).collect()
    }

    #[test]
    fn a_perfect_matrix_has_no_orange_and_a_wrong_one_no_blue() {
        let find = |counts: &[u64], colour| {
            let picture = confusion(counts, &classes(2)).unwrap();
            picture.light.pixels().any(|&p| p == colour)
        };
        let (right, wrong) = (Theme::LIGHT.diverging(-1.0), Theme::LIGHT.diverging(1.0));
        assert!(find(&[5, 0, 0, 5], right) && !find(&[5, 0, 0, 5], wrong));
        assert!(find(&[0, 5, 5, 0], wrong) && !find(&[0, 5, 5, 0], right));
    }

    #[test]
    fn any_number_of_classes_fits_a_page() {
        for n in [0, 1, 2, 10, 43, 100, 1000, 1500] {
            let counts = vec![u64::MAX; n * n];
            let picture = confusion(&counts, &classes(n)).unwrap();
            assert!(
                picture.points().0 < 820 && picture.points().1 < 900,
                "{n}: {:?}",
                picture.points()
            );
        }
    }

    #[test]
    fn a_matrix_that_is_not_square_is_refused() {
        let error = confusion(&[1, 2, 3], &classes(2)).unwrap_err().to_string();
        assert_eq!(error, "confusion matrix: expected 4 values for shape 2×2, found 3");
    }
}
