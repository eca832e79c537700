//! Draws every picture of this crate, and a whole report, from made-up numbers.
//!
//! `cargo run --release -p kiln-viz --example gallery -- FOLDER`

use std::path::Path;

use image::{Rgb, RgbImage};
use kiln_viz::{
    Card, Chart, Epoch, Evaluation, Filters, LayerRow, Run, Status, Step, Values, confusion,
    contact_sheet, enlarged, filters, maps,
};

/// A stream of numbers between 0 and 1, the same every time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    fn signed(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next() + self.next() + self.next() - 1.5).collect()
    }
}

/// A drawn ring or stroke that stands for a digit.
fn digit(random: &mut Random) -> RgbImage {
    let (x, y, r) =
        (11.0 + 6.0 * random.next(), 11.0 + 6.0 * random.next(), 4.0 + 5.0 * random.next());
    let stretch = 0.6 + random.next();
    RgbImage::from_fn(28, 28, |i, j| {
        let distance = ((i as f32 - x).powi(2) * stretch + (j as f32 - y).powi(2)).sqrt();
        let ink = (1.0 - ((distance - r).abs() - 0.8).max(0.0) / 1.2).clamp(0.0, 1.0);
        Rgb([(ink * 255.0) as u8; 3])
    })
}

/// Maps that look a little like answers to an image: smooth waves.
fn waves(random: &mut Random, [channels, height, width]: [usize; 3], positive: bool) -> Vec<f32> {
    let mut values = Vec::new();
    for _ in 0..channels {
        let (a, b, c) = (random.next() * 1.2 - 0.6, random.next() * 1.2 - 0.6, random.next() * 6.0);
        for i in 0..height * width {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let value = (a * x + b * y + c).sin() * (0.4 + 0.6 * random.next());
            values.push(if positive { value.max(0.0) } else { value });
        }
    }
    values
}

fn history(epochs: usize, random: &mut Random) -> Vec<Epoch> {
    let mut best = 0.0;
    (1..=epochs)
        .map(|epoch| {
            let t = epoch as f64;
            let noise = f64::from(random.next()) * 0.12;
            let validation_top1 = 0.991 - 0.07 * (-t / 3.0).exp() - noise * 0.01;
            let improved = validation_top1 > best;
            best = f64::max(best, validation_top1);
            Epoch {
                epoch,
                train_loss: 0.012 + 0.9 * (-t / 1.7).exp(),
                train_top1: 0.997 - 0.16 * (-t / 2.2).exp(),
                validation_loss: (0.05 + 0.5 * (-t / 1.5).exp()) * (1.0 + noise),
                validation_top1,
                rate: 0.05 * (1.0 + (std::f64::consts::PI * t / epochs as f64).cos()) / 2.0,
                images_per_second: 21_340.0 + 900.0 * noise,
                seconds: 2.8 + noise,
                best: improved,
            }
        })
        .collect()
}

fn matrix(classes: usize, random: &mut Random) -> Vec<u64> {
    (0..classes * classes)
        .map(|i| match (i / classes, i % classes) {
            (row, column) if row == column => 180 + (random.next() * 40.0) as u64,
            _ => (random.next().powi(9) * 9.0) as u64,
        })
        .collect()
}

fn run(random: &mut Random) -> Run {
    let classes: Vec<String> = (0..10).map(|i| i.to_string()).collect();
    let confusion = matrix(10, random);
    let samples: u64 = confusion.iter().sum();
    let right: u64 = (0..10).map(|i| confusion[i * 11]).sum();
    let shapes = [
        ("c1", "conv", [6, 28, 28], 156, 117_600),
        ("s2", "subsample", [6, 14, 14], 12, 4_704),
        ("c3", "conv", [16, 10, 10], 2_416, 240_000),
        ("s4", "subsample", [16, 5, 5], 32, 1_600),
        ("c5", "conv", [120, 1, 1], 48_120, 48_000),
        ("f6", "dense", [84, 1, 1], 10_164, 10_080),
        ("output", "dense", [10, 1, 1], 850, 840),
    ];
    let output = |shape: [usize; 3]| {
        if shape[1] == 1 && shape[0] < 100 { vec![shape[0]] } else { shape.to_vec() }
    };
    Run {
        model: "LeNet-5".into(),
        dataset: "MNIST".into(),
        summary: "A convolutional network of 1998 reads handwritten digits: 61,750 parameters, trained from scratch on 8,000 images.".into(),
        status: Status::Finished,
        epochs: history(20, random),
        evaluation: Some(Evaluation {
            split: "test".into(),
            samples: samples as usize,
            top1: right as f64 / samples as f64,
            top5: 0.9998,
            loss: 0.0487,
            confusion,
        }),
        wrong: (0..14).map(|i| Card::prediction(digit(random), &classes[i % 10], &classes[(i * 7 + 3) % 10], 0.99 - 0.04 * i as f64)).collect(),
        right: (0..14).map(|i| Card::prediction(digit(random), &classes[i % 10], &classes[i % 10], 0.9999 - 0.001 * i as f64)).collect(),
        filters: [("c1", [6, 1, 5, 5]), ("c3", [16, 6, 5, 5]), ("c5", [120, 16, 5, 5])]
            .map(|(name, shape)| Filters { name: name.into(), weights: random.signed(shape.iter().product()), shape })
            .into(),
        specimen: Some(digit(random)),
        steps: shapes
            .map(|(name, kind, shape, ..)| Step { name: name.into(), kind: kind.into(), maps: waves(random, shape, false), shape })
            .into(),
        scores: [("9", 0.9712), ("4", 0.0213), ("7", 0.0049), ("3", 0.0011), ("8", 0.0004)].map(|(n, s)| (n.to_owned(), s)).into(),
        layers: shapes
            .map(|(name, kind, shape, parameters, macs)| LayerRow { name: name.into(), kind: kind.into(), output: output(shape), parameters, macs })
            .into(),
        recipe: "# LeNet-5 on the embedded sample of MNIST.\nmodel = \"lenet5\"\ndataset = \"mnist\"\nseed = 1\nepochs = 20\nbatch = 64\n\n[optimizer]\nname = \"sgd\"\nrate = 0.05\nmomentum = 0.9\n\n[schedule]\nname = \"cosine\" # to zero\n".into(),
        facts: [("machine", "2 cores, 8 GB of memory"), ("device", "cpu (flex)"), ("kiln", "0.1.0"), ("training", "56 s"), ("finished", "2026-01-31 12:34 UTC")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
        seconds: 56.3,
        classes,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: gallery FOLDER")?;
    let folder = Path::new(&folder);
    let random = &mut Random(7);
    let run = run(random);
    let partial = Run {
        status: Status::Running { epoch: 1, epochs: 20 },
        epochs: run.epochs[..1].to_vec(),
        evaluation: None,
        wrong: Vec::new(),
        ..run.clone()
    };
    let empty = Run {
        model: run.model.clone(),
        dataset: run.dataset.clone(),
        status: Status::Running { epoch: 0, epochs: 20 },
        layers: run.layers.clone(),
        ..Run::default()
    };
    for (name, run) in [("run", &run), ("partial", &partial), ("empty", &empty)] {
        std::fs::create_dir_all(folder.join(name))?;
        let start = std::time::Instant::now();
        run.save(&folder.join(name))?;
        println!("{name}: {:?}", start.elapsed());
    }

    let words = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "West Highland white terrier",
    ];
    let named = |n: usize| -> Vec<String> {
        (0..n)
            .map(|i| if i < words.len() { words[i].to_owned() } else { format!("class {i}") })
            .collect()
    };
    let mut pictures = Vec::new();
    for n in [2, 10, 25, 43, 100, 1000] {
        pictures.push((format!("confusion-{n}"), confusion(&matrix(n, random), &named(n))?));
    }
    for (name, shape) in [
        ("conv1", [64, 3, 7, 7]),
        ("rgb", [12, 3, 5, 5]),
        ("wide", [512, 256, 3, 3]),
        ("pointwise", [128, 64, 1, 1]),
        ("single", [64, 1, 3, 3]),
    ] {
        pictures.push((
            format!("filters-{name}"),
            filters(&format!("stages.0.{name}"), &random.signed(shape.iter().product()), shape)?,
        ));
    }
    for shape in [[64, 56, 56], [3, 120, 160], [512, 1, 1], [24, 7, 7]] {
        pictures.push((
            format!("maps-{}", shape[0]),
            maps("stem · conv", &waves(random, shape, true), shape)?,
        ));
    }
    let cards: Vec<_> = (0..8)
        .map(|i| {
            Card::prediction(
                enlarged(&digit(random), 100).light,
                words[9 - i],
                words[9 - i / 2],
                0.5 + 0.06 * i as f64,
            )
        })
        .collect();
    pictures.push(("sheet".into(), contact_sheet("Predictions", &cards)));
    let wave = |shift: f64| {
        (0..300).map(move |i| {
            (
                f64::from(i) * 10.0,
                (f64::from(i) / 40.0 + shift).sin()
                    + if i > 200 && i < 220 { f64::NAN } else { 0.0 },
            )
        })
    };
    let mut many = Chart::new(
        "Six lines with quite long names, and a title that is itself much too long to fit",
    )
    .x("step")
    .y("value");
    for i in 0..6 {
        many = many.series(format!("a series called {i}"), wave(f64::from(i) * 0.3));
    }
    pictures.push(("chart-many".into(), many.picture(480, 320)));
    pictures.push((
        "chart-wide".into(),
        Chart::new("Learning rate")
            .x("step")
            .y("rate")
            .series(
                "rate",
                (0..2000).map(|i| (f64::from(i), 0.1 * (1.0 + (f64::from(i) / 640.0).cos()))),
            )
            .mark(1990.0, "here")
            .picture(720, 300),
    ));
    let spread = Chart::new("Loss").x("epoch").y("cross entropy").values(Values::Logarithmic);
    pictures.push((
        "chart-log".into(),
        spread
            .series("train", (1..90).map(|i| (f64::from(i), 7.0 * (-f64::from(i) / 12.0).exp())))
            .picture(480, 300),
    ));
    for (name, picture) in &pictures {
        picture.save(&folder.join(format!("{name}.png")))?;
        std::fs::write(folder.join(format!("{name}-dark.png")), kiln_viz::png(&picture.dark))?;
    }
    Ok(())
}
