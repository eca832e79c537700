//! Line charts: loss and accuracy over the epochs.

use image::{Rgb, RgbImage};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::axis::{Axis, Kind, LARGEST, axis};
use crate::canvas::{Align, Canvas, MARGIN, SCALE, Style};
use crate::picture::Picture;
use crate::{Theme, units};

/// plotters draws at this many times the final size; averaging then smooths its lines.
const OVERSAMPLE: u32 = 2;
/// Up to this many points each gets a dot.
const DOTS: usize = 24;

/// A line: a name and its points. A coordinate that is no number interrupts the line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// `(x, y)` in the order they are joined.
    pub points: Vec<(f64, f64)>,
}

/// What the vertical axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Values {
    /// Plain numbers.
    #[default]
    Numbers,
    /// Fractions, shown as percentages.
    Fractions,
    /// Positive numbers on a logarithmic axis; falls back to a plain one where there are none or they span less than a
    /// factor of ten.
    Logarithmic,
}

/// A vertical line with a label, such as the best epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where, on the horizontal axis.
    pub x: f64,
    /// What stands beside it.
    pub label: String,
}

/// A line chart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chart {
    /// Stands at the top.
    pub title: String,
    /// Unit of the horizontal axis.
    pub x_label: String,
    /// Unit of the vertical axis.
    pub y_label: String,
    /// What the vertical axis counts.
    pub values: Values,
    /// The lines, at most six in different colours.
    pub series: Vec<Series>,
    /// A vertical line, if any.
    pub mark: Option<Mark>,
}

/// A chart's axes and the rectangle between them, in points.
struct Plot {
    x: Axis,
    y: Axis,
    log: bool,
    left: f32,
    top: f32,
    width: f32,
    height: f32,
}

impl Chart {
    /// An empty chart.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Names the horizontal axis.
    pub fn x(self, label: impl Into<String>) -> Self {
        Self { x_label: label.into(), ..self }
    }

    /// Names the vertical axis.
    pub fn y(self, label: impl Into<String>) -> Self {
        Self { y_label: label.into(), ..self }
    }

    /// Says what the vertical axis counts.
    pub fn values(self, values: Values) -> Self {
        Self { values, ..self }
    }

    /// Adds a line.
    pub fn series(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.series.push(Series { name: name.into(), points: points.into_iter().collect() });
        self
    }

    /// Marks a place on the horizontal axis.
    pub fn mark(self, x: f64, label: impl Into<String>) -> Self {
        Self { mark: Some(Mark { x, label: label.into() }), ..self }
    }

    /// Draws the chart for a light page, `width` by `height` points (half the image's pixels).
    pub fn draw(&self, width: u32, height: u32) -> RgbImage {
        self.canvas(&Theme::LIGHT, width, height).into_image()
    }

    /// Draws the chart for both pages, `width` by `height` points.
    pub fn picture(&self, width: u32, height: u32) -> Picture {
        Picture::draw(|theme| self.canvas(theme, width, height))
    }

    fn canvas(&self, theme: &'static Theme, width: u32, height: u32) -> Canvas {
        let (width, height) = (width.clamp(160, 4000) as f32, height.clamp(140, 4000) as f32);
        let mut canvas = Canvas::new(theme, width, height);
        canvas.title(&self.title, "");
        let legend_end = self.legend(&mut canvas, width);

        let small = Style::new(11.0, theme.muted);
        let top =
            legend_end + if self.y_label.is_empty() && self.mark.is_none() { 10.0 } else { 34.0 };
        let bottom = MARGIN + if self.x_label.is_empty() { 18.0 } else { 36.0 };
        let tall = (height - top - bottom).max(20.0);
        let mut plot = self.axes(width, tall);
        let widest = plot.y.ticks.iter().map(|(_, label)| small.width(label)).fold(12.0, f32::max);
        (plot.left, plot.top) = (MARGIN + widest + 8.0, top);
        (plot.width, plot.height) = ((width - plot.left - MARGIN - 4.0).max(20.0), tall);

        if !self.y_label.is_empty() {
            let scale = if plot.log { " (logarithmic)" } else { "" };
            let label = small.fit(&format!("{}{scale}", self.y_label), width - 2.0 * MARGIN);
            canvas.text(&label, MARGIN, legend_end + 12.0, &small);
        }
        for (value, label) in &plot.y.ticks {
            let y = plot.y(*value);
            canvas.fill(plot.left, y - 0.25, plot.width, 0.5, theme.grid);
            canvas.text(label, plot.left - 8.0, y, &small.align(Align::Right));
        }
        self.horizontal(&mut canvas, &plot, &small);
        self.draw_mark(&mut canvas, &plot);
        if self.finite().next().is_none() {
            let (x, y) = (plot.left + plot.width / 2.0, plot.top + plot.height / 2.0);
            canvas.text("no values yet", x, y, &Style::new(12.0, theme.muted).align(Align::Centre));
        }
        self.lines(&mut canvas, &plot);
        canvas
    }

    /// All points that are numbers.
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.series.iter().flat_map(|series| &series.points).copied().filter(is_data)
    }

    /// Ranges and ticks of both axes for a chart of this size in points.
    fn axes(&self, width: f32, height: f32) -> Plot {
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            })
        };
        let (mut low, mut high) = range(&mut self.finite().map(|(_, y)| y));
        let log = self.values == Values::Logarithmic && low > 0.0 && high / low >= 10.0;
        let kind = match self.values {
            Values::Fractions => Kind::Percent,
            _ if log => Kind::Log,
            _ => Kind::Number,
        };
        if low < high && !log {
            // A plain axis starts at zero where zero is near, and leaves air above and below the lines elsewhere.
            let air = (high - low) * 0.06;
            let near_zero = low >= 0.0 && low < high * 0.5;
            low = if near_zero { 0.0 } else { low - air };
            high = if self.values == Values::Fractions && high <= 1.0 {
                (high + air).min(1.0)
            } else {
                high + air
            };
        } else if log {
            (low, high) = (low / 1.15, high * 1.15);
        }
        let (first, last) = range(&mut self.finite().map(|(x, _)| x));
        let whole = self.finite().all(|(x, _)| x.fract() == 0.0);
        let y = axis(low, high, kind, (height / 44.0) as usize);
        let x = axis(
            first,
            last,
            if whole { Kind::Integer } else { Kind::Number },
            (width / 56.0) as usize,
        );
        Plot { x, y, log, left: 0.0, top: 0.0, width: 0.0, height: 0.0 }
    }

    /// Draws the names of the lines with their last values, wrapped; returns the y below them.
    fn legend(&self, canvas: &mut Canvas, width: f32) -> f32 {
        let theme = canvas.theme;
        let (ink, muted) = (Style::new(11.5, theme.ink), Style::new(11.5, theme.muted));
        let mut y = if self.title.is_empty() { MARGIN - 14.0 } else { MARGIN + 14.0 };
        let mut x = f32::INFINITY;
        for (i, series) in self.series.iter().enumerate() {
            let last = series.points.iter().rev().copied().find(is_data);
            let value = last.map_or_else(String::new, |(_, y)| match self.values {
                Values::Fractions => units::percent(y, 2),
                _ => units::number(y, 3),
            });
            let name = ink
                .fit(&series.name, (width - 2.0 * MARGIN - 40.0 - muted.width(&value)).max(30.0));
            let (name_width, value_width) = (ink.width(&name), muted.width(&value));
            if x + 24.0 + name_width + 6.0 + value_width > width - MARGIN {
                x = MARGIN;
                y += 20.0;
            }
            canvas.fill(x, y - 1.5, 16.0, 3.0, colour(theme, i));
            canvas.text(&name, x + 22.0, y, &ink);
            canvas.text(&value, x + 22.0 + name_width + 6.0, y, &muted);
            x += 22.0 + name_width + 6.0 + value_width + 22.0;
        }
        y + 8.0
    }

    /// Draws the horizontal axis; a label that would touch the one before is left out.
    fn horizontal(&self, canvas: &mut Canvas, plot: &Plot, small: &Style) {
        let bottom = plot.top + plot.height;
        canvas.fill(plot.left, bottom - 0.5, plot.width, 1.0, canvas.theme.muted);
        let mut free_from = f32::NEG_INFINITY;
        for (value, label) in &plot.x.ticks {
            let (x, half) = (plot.x(*value), small.width(label) / 2.0);
            canvas.fill(x - 0.25, bottom, 0.5, 4.0, canvas.theme.muted);
            if x - half > free_from && x + half < plot.left + plot.width + MARGIN {
                canvas.text(label, x, bottom + 13.0, &small.align(Align::Centre));
                free_from = x + half + 6.0;
            }
        }
        let middle = plot.left + plot.width / 2.0;
        canvas.text(
            &small.fit(&self.x_label, plot.width),
            middle,
            bottom + 32.0,
            &small.align(Align::Centre),
        );
    }

    fn draw_mark(&self, canvas: &mut Canvas, plot: &Plot) {
        let Some(mark) = self.mark.as_ref().filter(|m| (plot.x.from..=plot.x.to).contains(&m.x))
        else {
            return;
        };
        let x = plot.x(mark.x);
        let mut y = plot.top - 13.0;
        while y < plot.top + plot.height {
            canvas.fill(
                x - 0.5,
                y,
                1.0,
                3.0_f32.min(plot.top + plot.height - y),
                canvas.theme.muted,
            );
            y += 6.0;
        }
        // Above the plot, where no line runs; pushed inwards at the ends.
        let style = Style::new(11.0, canvas.theme.muted).align(Align::Centre);
        let half = style.width(&mark.label) / 2.0;
        let from = if self.y_label.is_empty() {
            MARGIN
        } else {
            MARGIN + style.width(&self.y_label) + 16.0
        };
        let (least, most) = (from + half, plot.left + plot.width - half);
        if least <= most {
            canvas.text(&mark.label, x.clamp(least, most), plot.top - 22.0, &style);
        }
    }

    /// Lets plotters draw the lines on an enlarged copy of the sheet and scales it back.
    fn lines(&self, canvas: &mut Canvas, plot: &Plot) {
        let theme = canvas.theme;
        let image = canvas.image_mut();
        let (width, height) = (image.width() * OVERSAMPLE, image.height() * OVERSAMPLE);
        let factor = (SCALE * OVERSAMPLE) as f32;
        let mut large = enlarge(image);
        // Drawing into memory of the right size cannot fail; a line that did would only be missing.
        let _ = draw_series(&mut large, [width, height], |root| {
            let (right, bottom) = (plot.left + plot.width, plot.top + plot.height);
            let at = |points: f32| (points * factor).round() as i32;
            let area = root.apply_coord_spec(Cartesian2d::<RangedCoordf64, RangedCoordf64>::new(
                plot.x.from..plot.x.to,
                plot.y.from..plot.y.to,
                (at(plot.left)..at(right), at(bottom)..at(plot.top)),
            ));
            for (i, series) in self.series.iter().enumerate() {
                let Rgb([r, g, b]) = colour(theme, i);
                let ink = RGBColor(r, g, b);
                let newest = series.points.iter().rfind(|p| is_data(p)).map_or(f64::NAN, |p| p.0);
                let runs =
                    series.points.split(|point| !is_data(point) || (plot.log && point.1 <= 0.0));
                for run in runs {
                    let run: Vec<_> = run
                        .iter()
                        .map(|&(x, y)| (x, if plot.log { y.log10() } else { y }))
                        .collect();
                    area.draw(&PathElement::new(
                        run.clone(),
                        ink.stroke_width((2.0 * factor) as u32),
                    ))?;
                    // A point alone would not show without a dot; of many only the newest has one.
                    let every = series.points.len() <= DOTS || run.len() == 1;
                    let newest = run.last().is_some_and(|p| p.0 == newest);
                    let dots =
                        if every { 0 } else { run.len().saturating_sub(usize::from(newest)) };
                    for &point in &run[dots..] {
                        area.draw(&Circle::new(point, (2.75 * factor) as i32, ink.filled()))?;
                    }
                }
            }
            Ok(())
        });
        average(&large, image);
    }
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Opens `buffer` as a plotters drawing of `size` pixels.
fn draw_series(buffer: &mut [u8], size: [u32; 2], draw: impl FnOnce(&Area<'_>) -> Drawn) -> Drawn {
    let root = BitMapBackend::with_buffer(buffer, (size[0], size[1])).into_drawing_area();
    draw(&root)?;
    root.present()?;
    Ok(())
}

/// Every pixel of `image` as a block of pixels.
fn enlarge(image: &RgbImage) -> Vec<u8> {
    let n = OVERSAMPLE as usize;
    let stride = image.width() as usize * 3;
    let mut large = Vec::with_capacity(image.as_raw().len() * n * n);
    for row in image.as_raw().chunks_exact(stride) {
        let start = large.len();
        for pixel in row.chunks_exact(3) {
            for _ in 0..n {
                large.extend_from_slice(pixel);
            }
        }
        for _ in 1..n {
            large.extend_from_within(start..start + stride * n);
        }
    }
    large
}

/// Scales `large` down to `image` by the mean of every block of pixels.
fn average(large: &[u8], image: &mut RgbImage) {
    let n = OVERSAMPLE as usize;
    let stride = image.width() as usize * n * 3;
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        for (channel, value) in pixel.0.iter_mut().enumerate() {
            let mut sum = 0;
            for dy in 0..n {
                for dx in 0..n {
                    sum += u32::from(
                        large[(y as usize * n + dy) * stride + (x as usize * n + dx) * 3 + channel],
                    );
                }
            }
            *value = ((sum + (n * n / 2) as u32) / (n * n) as u32) as u8;
        }
    }
}

fn is_data(&(x, y): &(f64, f64)) -> bool {
    x.abs() < LARGEST && y.abs() < LARGEST
}

fn colour(theme: &Theme, index: usize) -> Rgb<u8> {
    theme.series[index % theme.series.len()]
}

impl Plot {
    fn x(&self, value: f64) -> f32 {
        self.left + self.width * ((value - self.x.from) / (self.x.to - self.x.from)) as f32
    }

    fn y(&self, value: f64) -> f32 {
        self.top + self.height * (1.0 - ((value - self.y.from) / (self.y.to - self.y.from)) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pixels have exactly the colour of series `index`.
    fn ink_of(image: &RgbImage, index: usize) -> usize {
        image.pixels().filter(|&&p| p == colour(&Theme::LIGHT, index)).count()
    }

    #[test]
    fn a_chart_without_data_says_so_and_keeps_its_size() {
        for chart in [
            Chart::new(""),
            Chart::new("Loss").series("train", []),
            Chart::new("Loss").series("a", [(f64::NAN, 1.0)]),
        ] {
            let image = chart.draw(320, 200);
            assert_eq!(image.dimensions(), (640, 400));
            assert!(words_in_the_middle(&image), "{chart:?}");
        }
        let filled = Chart::new("Loss").series("a", [(1.0, 1.0)]).draw(320, 200);
        assert!(!words_in_the_middle(&filled));
    }

    /// Whether something is written where lines should be.
    fn words_in_the_middle(image: &RgbImage) -> bool {
        image
            .enumerate_pixels()
            .filter(|(x, y, _)| (200..440).contains(x) && (120..280).contains(y))
            .any(|(_, _, &p)| p == Theme::LIGHT.muted)
    }

    #[test]
    fn one_epoch_is_a_dot() {
        let legend = Chart::new("Loss").series("train", []).draw(320, 200);
        let image = Chart::new("Loss").series("train", [(1.0, 0.5)]).draw(320, 200);
        assert!(ink_of(&image, 0) > ink_of(&legend, 0) + 50);
    }

    #[test]
    fn a_value_that_is_no_number_interrupts_the_line() {
        let line = |middle: f64| {
            Chart::new("").series(
                "a",
                (0..40).map(|i| {
                    (
                        f64::from(i),
                        if (10..30).contains(&i) { middle } else { 1.0 + f64::from(i % 2) },
                    )
                }),
            )
        };
        let (gap, whole) = (line(f64::NAN).draw(320, 200), line(1.5).draw(320, 200));
        assert!(ink_of(&gap, 0) < ink_of(&whole, 0));
        assert!(ink_of(&gap, 0) > 0);
    }

    #[test]
    fn a_rising_line_rises_to_the_right() {
        let image = Chart::new("").series("", [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]).draw(320, 200);
        let mean_y = |xs: std::ops::Range<u32>| {
            // Below the legend.
            let inked = |&(x, y, p): &(u32, u32, &Rgb<u8>)| {
                xs.contains(&x) && y > 60 && *p == colour(&Theme::LIGHT, 0)
            };
            let ys: Vec<u32> = image.enumerate_pixels().filter(inked).map(|(_, y, _)| y).collect();
            ys.iter().sum::<u32>() / ys.len() as u32
        };
        let (left, right) = (mean_y(100..250), mean_y(450..600));
        assert!(right + 50 < left, "left {left}, right {right}");
    }

    #[test]
    fn extreme_values_and_sizes_draw() {
        let points = [
            (0.0, 1e308),
            (1.0, -1e308),
            (2.0, 1e299),
            (3.0, -1e299),
            (4.0, f64::INFINITY),
            (1e299, 0.0),
        ];
        for values in [Values::Numbers, Values::Fractions, Values::Logarithmic] {
            let image = Chart::new("t")
                .x("x")
                .y("y")
                .values(values)
                .series("s", points)
                .mark(1.0, "best")
                .draw(0, 0);
            assert_eq!(
                image.dimensions(),
                (320, 280),
                "{values:?}: the smallest that holds a plot"
            );
        }
        let tiny = [(1.0, 1e-310), (2.0, 1e-300), (3.0, 2e-5)];
        let line = |points| {
            let chart = Chart::new("t").values(Values::Logarithmic).series("s", points);
            ink_of(&chart.draw(300, 200), 0)
        };
        assert!(line(tiny) > line([(f64::NAN, 1.0); 3]), "the line shows");
    }

    #[test]
    fn every_line_shows_in_its_own_colour() {
        let mut chart = Chart::new("six");
        for i in 0..6 {
            chart =
                chart.series(format!("line {i}"), (0..50).map(|x| (f64::from(x), f64::from(i))));
        }
        let image = chart.draw(480, 300);
        assert!((0..6).all(|i| ink_of(&image, i) > 500));
    }
}
