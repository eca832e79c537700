//! Turning the hue, in the 8-bit HSV of Pillow.

use crate::Pixels;

/// Turns the hue by `turn`, a fraction of the circle from -0.5 to 0.5.
pub(super) fn hue(pixels: &mut Pixels, turn: f32) {
    let turn = (f64::from(turn) * 255.0) as i32 as u8; // wraps, as the circle does
    if pixels.channels == 3 && turn != 0 {
        for rgb in pixels.data.as_chunks_mut::<3>().0 {
            let [hue, saturation, value] = hsv(*rgb);
            *rgb = back([hue.wrapping_add(turn), saturation, value]);
        }
    }
}

/// Hue, saturation and value of a colour. Numbers have the precisions that Pillow's have: a hue is cut to 8 bits, and a
/// last bit of another precision would be a step of it.
fn hsv(rgb: [u8; 3]) -> [u8; 3] {
    let [red, green, blue] = rgb;
    let (least, most) = (red.min(green).min(blue), red.max(green).max(blue));
    if least == most {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let [r, g, b] = rgb.map(|value| f32::from(most - value) / range);
    let sixths = if red == most {
        b - g
    } else if green == most {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let hue = ((f64::from(sixths) / 6.0 + 1.0) % 1.0) as f32;
    let saturation = range / f32::from(most);
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// The colour of a hue, saturation and value.
fn back([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sixths = f64::from(hue) * 6.0 / 255.0;
    let part = f64::from((sixths - sixths.floor()) as f32);
    let share = f64::from((f64::from(saturation) / 255.0) as f32);
    let of = |factor: f64| (f64::from(value) * factor).round() as u8;
    let low = of(1.0 - share);
    let (falling, rising) = (of(1.0 - share * part), of(1.0 - share * (1.0 - part)));
    match sixths as u8 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_a_turn_makes_red_green_and_green_blue() {
        let mut pixels = Pixels::new(2, 1, 3, vec![255, 0, 0, 0, 255, 0]).unwrap();
        hue(&mut pixels, 1.0 / 3.0);
        assert_eq!(pixels.data, [0, 255, 0, 0, 0, 255]);
    }

    #[test]
    fn grey_has_no_hue() {
        let grey = Pixels::new(1, 1, 3, vec![77; 3]).unwrap();
        let mut turned = grey.clone();
        hue(&mut turned, 0.4);
        assert_eq!(turned, grey);
    }
}
