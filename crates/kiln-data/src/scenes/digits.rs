//! digit-scenes: pictures of many digits with boxes and masks, made on the fly from MNIST's embedded sample.
//!
//! A scene is a pure function of its part, the seed and its number. It holds [`LEAST_DIGITS`] to [`MOST_DIGITS`] digits
//! whose heights go from 16 to 64 pixels, both ends always among them, over strokes that are no digits. For every ten
//! digits at least three pairs overlap in their boxes, and of each digit at least 60 % are to be seen. Scenes of different
//! parts are made of different digits.
//!
//! Only sums, products and roundings of IEEE 754 make the pixels, so they are the same on every machine.

use std::sync::{Arc, OnceLock};

use super::Scenes;
use crate::transform::{Mask, Object, Scene};
use crate::{Dataset, Error, Pixels, Random, Sample, Splits, Subset, open};

/// What a scene looks like is part of this number: it goes up with every change of a pixel.
pub const GENERATOR: u32 = 1;

/// Width and height of a scene in pixels.
pub const SIDE: usize = 192;

/// Every scene has as many digits as this.
pub const LEAST_DIGITS: usize = 8;
/// No scene has more digits.
pub const MOST_DIGITS: usize = 14;

/// Height in pixels of the smallest digit; the largest is four times as high.
const SMALLEST: usize = 16;
/// How many pairs overlap at least, for ten digits.
const PAIRS: usize = 3;
/// How much of a digit is to be seen at least, and which part of the smaller box two overlapping ones share when the
/// second is put onto the first, in percent.
const VISIBLE: usize = 60;
const SHARED: [i64; 2] = [10, 50];
/// Strokes that are no digits.
const CLUTTER: usize = 10;
/// Places tried for a digit, and drafts of a scene.
const PLACES: usize = 200;
const DRAFTS: u64 = 100;
/// A pixel with as much ink as this belongs to a digit.
const INK: u8 = 96;
/// Digits of the sample's part to learn from that are kept for validation: the last ones.
const VALIDATION: usize = 1000;

/// Keeps scenes apart from the loader's streams of the same seed.
const SCENE: u64 = 0x53_4345_4E45;

/// Which scenes, each from digits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// To learn from.
    Train,
    /// To choose the best epoch by.
    Validation,
    /// To be judged by.
    Test,
}

impl Part {
    /// `train`, `validation` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Scenes of digits.
pub struct DigitScenes {
    digits: Arc<dyn Dataset>,
    part: Part,
    scenes: usize,
    seed: u64,
}

impl DigitScenes {
    /// `scenes` scenes of a part; another `seed` gives others of the same digits.
    ///
    /// # Errors
    ///
    /// What opening the embedded digits refuses.
    pub fn new(part: Part, scenes: usize, seed: u64) -> Result<Self, Error> {
        static SAMPLE: OnceLock<Splits> = OnceLock::new();
        let sample = match SAMPLE.get() {
            Some(sample) => sample,
            None => {
                let sample = open("mnist", None)?;
                SAMPLE.get_or_init(|| sample)
            }
        };
        let learned = sample.train.len();
        let kept = learned.saturating_sub(VALIDATION);
        let some = |range| -> Result<Arc<dyn Dataset>, Error> {
            Ok(Arc::new(Subset::new(Arc::clone(&sample.train), range)?))
        };
        let digits = match part {
            Part::Train => some((0..kept).collect())?,
            Part::Validation => some((kept..learned).collect())?,
            Part::Test => Arc::clone(&sample.test),
        };
        Ok(Self { digits, part, scenes, seed })
    }

    /// A draft of a scene; none if its digits found no place.
    fn draft(&self, random: &mut Random) -> Result<Option<Scene>, Error> {
        let mut canvas = Canvas::new(random);
        for _ in 0..CLUTTER {
            canvas.clutter(random);
        }
        let count = LEAST_DIGITS + random.below(MOST_DIGITS - LEAST_DIGITS + 1);
        let alone = count - (count * PAIRS).div_ceil(10);
        for number in 0..count {
            let height = match number {
                0 => 4 * SMALLEST,
                1 => SMALLEST,
                // As many between 16 and 32 as between 32 and 64.
                _ => {
                    let least = SMALLEST << random.below(2);
                    least + random.below(least + 1)
                }
            };
            let glyph =
                Glyph::of(self.digits.sample(random.below(self.digits.len()))?, height, random);
            match canvas.place(&glyph, number >= alone, random) {
                Some(place) => canvas.paste(&glyph, place, random),
                None => return Ok(None),
            }
        }
        canvas.noise(random);
        let scene = canvas.finish();
        let boxes: Vec<_> = scene.objects.iter().map(|object| object.corners).collect();
        Ok((boxes.len() == count && 10 * pairs(&boxes) >= PAIRS * count).then_some(scene))
    }
}

impl Scenes for DigitScenes {
    fn len(&self) -> usize {
        self.scenes
    }

    /// Scene `index`: in colours, with a box and the visible pixels of each digit, and the class of each pixel: its digit
    /// plus 1, 0 elsewhere.
    fn scene(&self, index: usize) -> Result<Scene, Error> {
        let start = [SCENE, u64::from(GENERATOR), self.part as u64, self.seed, index as u64];
        for draft in 0..DRAFTS {
            let key = [start.as_slice(), &[draft]].concat();
            if let Some(scene) = self.draft(&mut Random::new(&key))? {
                return Ok(scene);
            }
        }
        Err(Error::sample(self.name(index), "its digits found no place: ask for another seed"))
    }

    fn name(&self, index: usize) -> String {
        format!("digit-scenes {}/{index}", self.part.name())
    }
}

/// How many pairs of boxes share an area.
fn pairs(boxes: &[[f32; 4]]) -> usize {
    let share = |a: [f32; 4], b: [f32; 4]| a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
    let with_later =
        |(at, &one)| boxes[at + 1..].iter().filter(|&&other| share(one, other)).count();
    boxes.iter().enumerate().map(with_later).sum()
}

/// A digit, turned and stretched, without its margin.
struct Glyph {
    label: usize,
    width: usize,
    height: usize,
    /// 0 to 255, rows from the top.
    ink: Vec<u8>,
}

impl Glyph {
    fn of(Sample { pixels, label }: Sample, height: usize, random: &mut Random) -> Self {
        let (turn, lean) = (random.between(-0.25, 0.25), random.between(-0.2, 0.2));
        // A small turn, after the top was pushed aside.
        let [a, b, c, d] = [1.0, lean - turn, turn, 1.0 + turn * lean];
        let determinant = a * d - b * c;
        let [mut left, mut top, mut right, mut bottom] = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        for (at, _) in pixels.data.iter().enumerate().filter(|(_, ink)| **ink >= INK) {
            let [x, y] = [at % pixels.width, at / pixels.width].map(|place| place as f32);
            for [x, y] in [[x, y], [x + 1.0, y], [x, y + 1.0], [x + 1.0, y + 1.0]] {
                let [u, v] = [a * x + b * y, c * x + d * y];
                (left, right) = (left.min(u), right.max(u));
                (top, bottom) = (top.min(v), bottom.max(v));
            }
        }
        let scale = height as f32 / (bottom - top);
        let width = (((right - left) * scale).ceil() as usize).clamp(1, SIDE);
        let mut ink = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                // Four looks into each pixel, because the smallest digits are smaller than MNIST's.
                let looks = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]];
                let sum = looks.map(|[right, down]| {
                    let u = left + (x as f32 + right) / scale;
                    let v = top + (y as f32 + down) / scale;
                    between(&pixels, (d * u - b * v) / determinant, (a * v - c * u) / determinant)
                });
                ink.push(((sum[0] + sum[1] + sum[2] + sum[3]) / 4.0).round() as u8);
            }
        }
        Self { label, width, height, ink }
    }

    /// Where it has ink, as places on the canvas.
    fn inked(&self, [left, top]: [usize; 2]) -> impl Iterator<Item = usize> {
        let marked = self.ink.iter().enumerate().filter(|(_, ink)| **ink >= INK);
        marked.map(move |(at, _)| (top + at / self.width) * SIDE + left + at % self.width)
    }
}

/// The value of a grey image between the middles of its pixels, black outside.
fn between(pixels: &Pixels, x: f32, y: f32) -> f32 {
    let (x, y) = (x - 0.5, y - 0.5);
    let (column, row) = (x.floor(), y.floor());
    let (right, down) = (x - column, y - row);
    let at = |column: f32, row: f32| {
        let inside = column >= 0.0 && row >= 0.0 && (column as usize) < pixels.width;
        let inside = inside && (row as usize) < pixels.height;
        if inside {
            f32::from(pixels.data[row as usize * pixels.width + column as usize])
        } else {
            0.0
        }
    };
    let above = at(column, row) * (1.0 - right) + at(column + 1.0, row) * right;
    let below = at(column, row + 1.0) * (1.0 - right) + at(column + 1.0, row + 1.0) * right;
    above * (1.0 - down) + below * down
}

/// A scene in the making.
struct Canvas {
    /// Red, green and blue of each pixel.
    colours: Vec<[u8; 3]>,
    /// The number of the digit that is seen in each pixel, plus 1.
    owners: Vec<u8>,
    digits: Vec<Placed>,
}

/// A digit on the canvas.
struct Placed {
    label: usize,
    /// Left, top, right and bottom.
    corners: [i64; 4],
    /// Pixels of it, and how many of them nothing covers.
    ink: usize,
    visible: usize,
}

fn area([left, top, right, bottom]: [i64; 4]) -> i64 {
    (right - left).max(0) * (bottom - top).max(0)
}

/// The area that two boxes share.
fn shared(a: [i64; 4], b: [i64; 4]) -> i64 {
    area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])])
}

impl Canvas {
    /// Slopes between four dark colours.
    fn new(random: &mut Random) -> Self {
        let corners = [0; 4].map(|_| [0; 3].map(|_| random.between(0.0, 90.0)));
        let colour = |at: usize| {
            let [x, y] = [at % SIDE, at / SIDE].map(|place| place as f32 / (SIDE - 1) as f32);
            [0, 1, 2].map(|channel| {
                let [a, b, c, d] = corners.map(|corner| corner[channel]);
                ((a * (1.0 - x) + b * x) * (1.0 - y) + (c * (1.0 - x) + d * x) * y) as u8
            })
        };
        let colours = (0..SIDE * SIDE).map(colour).collect();
        Self { colours, owners: vec![0; SIDE * SIDE], digits: Vec::new() }
    }

    /// Draws a bent stroke.
    fn clutter(&mut self, random: &mut Random) {
        let colour = [0; 3].map(|_| 60 + random.below(110) as u8);
        let thick = 1 + random.below(3) as i64;
        let mut start = [0; 2].map(|_| random.below(SIDE) as i64);
        for _ in 0..1 + random.below(3) {
            let way = [0; 2].map(|_| random.below(61) as i64 - 30);
            let steps = way[0].abs().max(way[1].abs()).max(1);
            for step in 0..=steps {
                let [x, y] = [0, 1].map(|axis: usize| start[axis] + way[axis] * step / steps);
                for (x, y) in (0..thick * thick).map(|at| (x + at % thick, y + at / thick)) {
                    let inside = 0..SIDE as i64;
                    if inside.contains(&x) && inside.contains(&y) {
                        self.colours[y as usize * SIDE + x as usize] = colour;
                    }
                }
            }
            start = [0, 1].map(|axis: usize| start[axis] + way[axis]);
        }
    }

    /// A place for a digit: where no other is, or `onto` another, of which enough stays to be seen.
    fn place(&self, glyph: &Glyph, onto: bool, random: &mut Random) -> Option<[usize; 2]> {
        let Glyph { width, height, .. } = *glyph;
        let most = [SIDE.checked_sub(width)?, SIDE.checked_sub(height)?];
        for _ in 0..PLACES {
            let place = most.map(|most| random.below(most + 1));
            let [left, top] = place.map(|edge| edge as i64);
            let corners = [left, top, left + width as i64, top + height as i64];
            let fits = match onto {
                false => self.digits.iter().all(|digit| shared(digit.corners, corners) == 0),
                true => {
                    let close = self.digits.iter().any(|digit| {
                        let smaller = area(digit.corners).min(area(corners));
                        let part = 100 * shared(digit.corners, corners);
                        (SHARED[0] * smaller..=SHARED[1] * smaller).contains(&part)
                    });
                    close && self.leaves_enough(glyph, place)
                }
            };
            if fits {
                return Some(place);
            }
        }
        None
    }

    /// Whether enough of each digit is seen after another was put somewhere.
    fn leaves_enough(&self, glyph: &Glyph, place: [usize; 2]) -> bool {
        let mut visible: Vec<usize> = self.digits.iter().map(|digit| digit.visible).collect();
        for owner in glyph.inked(place).map(|at| self.owners[at]).filter(|owner| *owner > 0) {
            visible[usize::from(owner) - 1] -= 1;
        }
        let mut left = self.digits.iter().zip(visible);
        left.all(|(digit, visible)| 100 * visible >= VISIBLE * digit.ink)
    }

    /// Draws a digit over what is there; what it covers of others is no longer theirs.
    fn paste(&mut self, glyph: &Glyph, place: [usize; 2], random: &mut Random) {
        let colour = [0; 3].map(|_| random.between(140.0, 255.0));
        let [left, top] = place;
        for (at, &ink) in glyph.ink.iter().enumerate() {
            let pixel =
                &mut self.colours[(top + at / glyph.width) * SIDE + left + at % glyph.width];
            let part = f32::from(ink) / 255.0;
            for (value, colour) in pixel.iter_mut().zip(colour) {
                *value = (f32::from(*value) * (1.0 - part) + colour * part) as u8;
            }
        }
        let number = self.digits.len() as u8 + 1;
        let mut ink = 0;
        for at in glyph.inked(place) {
            let covered = std::mem::replace(&mut self.owners[at], number);
            if covered > 0 {
                self.digits[usize::from(covered) - 1].visible -= 1;
            }
            ink += 1;
        }
        let corners = [left, top, left + glyph.width, top + glyph.height].map(|edge| edge as i64);
        self.digits.push(Placed { label: glyph.label, corners, ink, visible: ink });
    }

    /// Lightens and darkens every value a little.
    fn noise(&mut self, random: &mut Random) {
        for pixel in &mut self.colours {
            let bits = random.bits().to_le_bytes();
            for (value, bits) in pixel.iter_mut().zip(bits) {
                *value = value.saturating_add(bits & 7).saturating_sub(bits >> 4 & 7);
            }
        }
    }

    /// The scene, with the box and the mask of what is seen of each digit.
    fn finish(self) -> Scene {
        let Self { colours, owners, digits } = self;
        let mut classes = Mask::empty(SIDE, SIDE);
        for (class, &owner) in classes.data.iter_mut().zip(&owners) {
            if let Some(digit) = usize::from(owner).checked_sub(1) {
                *class = digits[digit].label as u8 + 1;
            }
        }
        let objects = (1..).zip(&digits).filter_map(|(number, digit)| {
            let mut mask = Mask::empty(SIDE, SIDE);
            for (value, &owner) in mask.data.iter_mut().zip(&owners) {
                *value = u8::from(owner == number);
            }
            let corners = mask.bounds()?;
            Some(Object { label: digit.label, corners, mask: Some(mask) })
        });
        let objects = objects.collect();
        let pixels =
            Pixels { width: SIDE, height: SIDE, channels: 3, data: colours.into_flattened() };
        Scene { pixels, objects, classes: Some(classes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::collections::HashSet;

    const PARTS: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    fn scenes(part: Part) -> DigitScenes {
        DigitScenes::new(part, 100, 0).unwrap()
    }

    #[test]
    fn a_scene_is_crowded_of_many_sizes_and_overlapping() {
        for part in PARTS {
            let scenes = scenes(part);
            let mut counts = [0; MOST_DIGITS + 1];
            for index in 0..scenes.len() {
                let scene = scenes.scene(index).unwrap();
                assert_eq!(scene.fault(), None);
                let boxes: Vec<_> = scene.objects.iter().map(|object| object.corners).collect();
                counts[boxes.len()] += 1;
                let heights = boxes.iter().map(|corners| corners[3] - corners[1]);
                let (low, high) =
                    heights.fold((f32::MAX, 0.0_f32), |(l, h), x| (l.min(x), h.max(x)));
                assert!(high >= 3.0 * low && high <= 65.0, "{low} to {high} in {index}");
                assert!(10 * pairs(&boxes) >= 3 * boxes.len(), "{boxes:?} in {index}");
            }
            assert!(counts[..LEAST_DIGITS].iter().all(|count| *count == 0), "{counts:?}");
            assert!(counts[LEAST_DIGITS..].iter().all(|count| *count > 0), "{counts:?}");
        }
    }

    #[test]
    fn boxes_masks_and_classes_say_the_same() {
        let scenes = scenes(Part::Train);
        for index in 0..20 {
            let scene = scenes.scene(index).unwrap();
            let mut classes = vec![0; SIDE * SIDE];
            for Object { label, corners, mask } in &scene.objects {
                let mask = mask.as_ref().unwrap();
                assert_eq!(mask.bounds(), Some(*corners));
                for (class, _) in classes.iter_mut().zip(&mask.data).filter(|(_, mine)| **mine != 0)
                {
                    assert_eq!(*class, 0, "a pixel belongs to two digits");
                    *class = *label as u8 + 1;
                }
            }
            assert_eq!(scene.classes.unwrap().data, classes);
        }
    }

    #[test]
    fn a_digit_is_brighter_than_what_is_around_it() {
        let scene = scenes(Part::Test).scene(1).unwrap();
        let (mut inside, mut outside) = ((0, 0), (0, 0));
        let classes = scene.classes.unwrap().data;
        for (&class, rgb) in classes.iter().zip(scene.pixels.data.chunks_exact(3)) {
            let sum = if class > 0 { &mut inside } else { &mut outside };
            *sum = (sum.0 + rgb.iter().map(|&value| usize::from(value)).sum::<usize>(), sum.1 + 3);
        }
        let (digits, around) = (inside.0 / inside.1, outside.0 / outside.1);
        assert!(digits > 2 * around, "{digits} and {around}");
    }

    #[test]
    fn no_digit_is_in_two_parts() {
        let hashes = PARTS.map(|part| {
            let digits = scenes(part).digits;
            let sample = |index| digits.sample(index).unwrap().pixels.data;
            (0..digits.len()).map(sample).collect::<HashSet<_>>()
        });
        assert_eq!(hashes.each_ref().map(HashSet::len), [7500, 1000, 1500]);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(hashes[a].is_disjoint(&hashes[b]));
        }
    }

    #[test]
    fn a_scene_is_the_same_every_time_and_another_with_another_number_or_seed() {
        let first = scenes(Part::Train).scene(3).unwrap();
        assert_eq!(first, scenes(Part::Train).scene(3).unwrap());
        assert_ne!(first, scenes(Part::Train).scene(4).unwrap());
        assert_ne!(first, scenes(Part::Test).scene(3).unwrap());
        assert_ne!(first, DigitScenes::new(Part::Train, 100, 1).unwrap().scene(3).unwrap());
    }

    /// Results on these scenes can be compared only as long as they stay what they are. Whoever changes a pixel raises
    /// [`GENERATOR`] and says so in the card.
    #[test]
    fn the_pixels_of_this_generator_are_pinned() {
        let mut hash = Sha256::new();
        for part in PARTS {
            for index in 0..10 {
                let scene = scenes(part).scene(index).unwrap();
                hash.update(&scene.pixels.data);
                hash.update(&scene.classes.unwrap().data);
            }
        }
        let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (GENERATOR, hash.as_str()),
            (1, "30b477a2009e7d2eb236f711389bb924455112b497be13c347dc48b152af9747")
        );
    }
}
