//! What every configuration checks first: that its numbers are of this world. What a slip makes of
//! them is refused before anything is built, where it would overflow or fill the memory.

use crate::Error;

/// Most channels, units of a dense layer, classes or pixels of a side.
const WIDEST: usize = 1 << 20;
/// Most blocks in a row.
const DEEPEST: usize = 10_000;
/// More parameters fit into no memory.
const MOST: usize = 10_000_000_000;

/// Names of options and their numbers.
type Numbers<'a> = &'a [(&'a str, &'a [usize])];

/// Refuses numbers of channels, units or classes that are 0 or absurd.
pub(crate) fn widths(numbers: Numbers<'_>) -> Result<(), Error> {
    numbers.iter().try_for_each(|(name, numbers)| within(name, numbers, 1, WIDEST))
}

/// Refuses numbers of blocks or layers that are less than `least` or absurd.
pub(crate) fn depths(name: &str, depths: &[usize], least: usize) -> Result<(), Error> {
    within(name, depths, least, DEEPEST)
}

/// Refuses a probability that something is dropped that isn't one, or leaves nothing.
pub(crate) fn dropped(name: &str, value: f64) -> Result<(), Error> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::Options { reason: format!("{name} must be in 0..1, found {value}") })
}

/// Refuses a number that isn't above 0 and at most `most`.
pub(crate) fn positive(name: &str, value: f64, most: f64) -> Result<(), Error> {
    if value > 0.0 && value <= most {
        return Ok(());
    }
    Err(Error::Options {
        reason: format!("{name} must be above 0 and at most {most}, found {value}"),
    })
}

/// Refuses layers of more parameters than any memory holds. Each product is that of some layers, or
/// less: a number of layers, channels that come in, channels that go out.
pub(crate) fn affordable(products: impl IntoIterator<Item = [usize; 3]>) -> Result<(), Error> {
    let total = products.into_iter().try_fold(0_usize, |total, product| {
        let product = product.into_iter().try_fold(1_usize, usize::checked_mul)?;
        total.checked_add(product).filter(|&total| total <= MOST)
    });
    match total {
        Some(_) => Ok(()),
        None => Err(Error::Options {
            reason: format!("more than {MOST} parameters; make widths or depths smaller"),
        }),
    }
}

fn within(name: &str, numbers: &[usize], least: usize, most: usize) -> Result<(), Error> {
    match numbers.iter().find(|number| !(least..=most).contains(number)) {
        None => Ok(()),
        Some(found) => Err(Error::Options {
            reason: format!("{name} must be from {least} to {most}, found {found}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Registry, Zoo};
    use kiln_testkit::device;
    use serde_json::{Value, json};

    /// `value` with each number in it replaced by each absurd one, one at a time.
    fn absurd(value: &Value) -> Vec<Value> {
        match value {
            Value::Number(number) if number.is_f64() => vec![json!(-1.0), json!(1e9), json!(1e300)],
            // The second is a depth of 6n + 2.
            Value::Number(_) => {
                [100_000_000, 6_000_000_002, 1 << 61, u64::MAX].map(Value::from).into()
            }
            Value::Array(values) => {
                let place = |(at, value)| {
                    absurd(value).into_iter().map(move |absurd| {
                        let mut values = values.clone();
                        values[at] = absurd;
                        Value::Array(values)
                    })
                };
                values.iter().enumerate().flat_map(place).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn absurd_options_are_refused_by_every_network_before_anything_is_built() {
        let mut tried = 0;
        for entry in Zoo.entries() {
            let mut options: Vec<(String, Value)> = Vec::new();
            for (name, default) in Zoo.defaults(entry.name).unwrap() {
                options.extend(absurd(&default).into_iter().map(|value| (name.clone(), value)));
            }
            for (name, value) in options {
                let table = Options::from_iter([(name.clone(), value.clone())]);
                let built = Zoo.build(entry.name, &table, &device());
                let error =
                    built.map(|_| ()).expect_err(&format!("{}: {name} = {value}", entry.name));
                assert!(error.to_string().contains(&name), "{}: {error}", entry.name);
                tried += 1;
            }
        }
        assert!(tried > 1000, "{tried}");
    }

    #[test]
    fn numbers_that_only_together_are_absurd_are_refused_too() {
        let build = |name: &str, options: Value| {
            let built = Zoo.build(name, options.as_object().unwrap(), &device());
            built.map(|_| ()).unwrap_err().to_string()
        };
        for (name, options) in [
            ("resnet152", json!({ "width": WIDEST })),
            ("resnet18", json!({ "width": 4096, "depths": [10_000, 10_000, 10_000, 10_000] })),
            ("legacy_senet154", json!({ "width": WIDEST })),
            ("resnet20", json!({ "width": WIDEST, "depth": 9998 })),
            ("vgg19_bn", json!({ "width": WIDEST })),
            ("googlenet", json!({ "width": WIDEST })),
            ("xception", json!({ "middle": 10_000 , "entry": [128, 256, WIDEST] })),
            ("darknet19", json!({ "stages": [[WIDEST, WIDEST]] })),
            ("darknet53", json!({ "channels": [WIDEST, WIDEST, WIDEST, WIDEST, WIDEST] })),
            ("lenet5", json!({ "hidden": WIDEST, "maps": [6, 16, WIDEST] })),
        ] {
            let error = build(name, options);
            assert!(error.contains("10000000000 parameters"), "{name}: {error}");
        }
    }

    #[test]
    fn an_error_says_what_was_expected_and_found() {
        let reason = |result: Result<(), Error>| result.unwrap_err().to_string();
        assert_eq!(
            reason(widths(&[("width", &[3, 0])])),
            "impossible options: width must be from 1 to 1048576, found 0"
        );
        assert_eq!(
            reason(dropped("dropout", f64::NAN)),
            "impossible options: dropout must be in 0..1, found NaN"
        );
        assert!(depths("depths", &[0], 0).is_ok() && positive("epsilon", 1e-3, 1.0).is_ok());
        assert!(positive("epsilon", f64::NAN, 1.0).is_err());
    }
}
