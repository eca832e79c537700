//! A sheet of scenes: each with its boxes, and beside it what each pixel belongs to.

use image::{Rgb, RgbImage};
use kiln::data::transform::{Object, Scene};
use kiln::data::{Random, SceneSplits, Scenes};
use kiln::train::Recipe;
use kiln::viz::{Card, Labelled, class_colour, draw_boxes};

use crate::errors::Failure;
use crate::output;

/// Boxes and names are drawn so many times as large as the scene, to be read.
const LARGER: u32 = 2;

/// Two cards for each of `count` scenes of a part, spread over it, changed as `recipe` changes them, if one does.
pub fn cards(
    splits: &SceneSplits,
    part: &dyn Scenes,
    recipe: Option<&Recipe>,
    count: usize,
) -> Result<Vec<Card>, Failure> {
    let mut cards = Vec::with_capacity(2 * count);
    for index in (0..count).map(|number| number * part.len() / count) {
        let name = part.name(index);
        let changing = recipe.filter(|recipe| !recipe.augment.is_identity());
        let scene = part.scene(index).and_then(|scene| match changing {
            None => Ok(scene),
            Some(recipe) => {
                let mut random = Random::new(&[recipe.seed, index as u64]);
                recipe.augment.apply(scene, &recipe.preprocess, &mut random)
            }
        });
        // Those that can't be read are shown as such: finding them is what a preview is for.
        let scene = match scene {
            Ok(scene) => scene,
            Err(error) => {
                output::note(&error.to_string());
                let card = Card::new(RgbImage::new(1, 1), name);
                cards.push(Card { note: "unreadable".into(), ..card });
                continue;
            }
        };
        let objects = scene.objects.len();
        cards.push(Card {
            note: format!("{objects} objects"),
            ..Card::new(boxes(splits, &scene), name)
        });
        if let Some(image) = classes(&scene) {
            cards.push(Card::new(image, "classes of its pixels"));
        }
    }
    Ok(cards)
}

/// The image with a frame around each object.
fn boxes(splits: &SceneSplits, scene: &Scene) -> RgbImage {
    let image = scene.pixels.to_rgb();
    let [width, height] = [image.width(), image.height()].map(|side| side * LARGER);
    let mut image =
        image::imageops::resize(&image, width, height, image::imageops::FilterType::Nearest);
    let labelled: Vec<Labelled> = scene
        .objects
        .iter()
        .map(|Object { label, corners, .. }| Labelled {
            bounds: corners.map(|edge| f64::from(edge) * f64::from(LARGER)),
            class: *label,
            label: splits.classes.get(*label).cloned().unwrap_or_default(),
        })
        .collect();
    draw_boxes(&mut image, &labelled);
    image
}

/// What each pixel belongs to, in the colours of the boxes; nothing is black.
fn classes(scene: &Scene) -> Option<RgbImage> {
    let classes = scene.classes.as_ref()?;
    let colour = |class: u8| class.checked_sub(1).map_or(Rgb([0; 3]), |at| class_colour(at.into()));
    let colours = classes.data.iter().flat_map(|&class| colour(class).0).collect();
    RgbImage::from_raw(classes.width as u32, classes.height as u32, colours)
}
