//! Reading a type from a table of values, so that a misfit is named by its full path; serde_json
//! says what doesn't fit, but not where.

use std::fmt;

use burn::serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use burn::serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use burn::serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use crate::Error;
use crate::suggest::nearest;

/// `value` as a `T`.
///
/// # Errors
///
/// With the full path of the key: a name that isn't one of those possible, with the nearest of
/// them, or another value that `T` can't hold.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Place { path: String::new(), value }).map_err(Error::from)
}

/// A value and where it stands.
struct Place {
    path: String,
    value: Value,
}

/// What doesn't fit, and where, as soon as that is known.
#[derive(Debug)]
struct Misfit {
    path: Option<String>,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    /// A name that is none of those possible.
    Name { found: String, known: &'static [&'static str] },
    /// Anything else, in serde's words.
    Other(String),
}

type Table = MapDeserializer<'static, std::vec::IntoIter<(String, Place)>, Misfit>;

impl Place {
    /// Reads the value as `with` says; what goes wrong in it and has no place yet has this one.
    fn read<T>(self, with: impl FnOnce(Self) -> Result<T, Misfit>) -> Result<T, Misfit> {
        let path = self.path.clone();
        with(self).map_err(|misfit| Misfit { path: misfit.path.or(Some(path)), ..misfit })
    }
}

/// The entries of the table at `path`, each with its own path.
fn entries(path: &str, table: Map<String, Value>) -> Table {
    let place = |(key, value): (String, Value)| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        (key, Place { path, value })
    };
    MapDeserializer::new(table.into_iter().map(place).collect::<Vec<_>>().into_iter())
}

impl<'de> Deserializer<'de> for Place {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.read(|Place { path, value }| match value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::String(value) => visitor.visit_string(value),
            Value::Number(number) => {
                if let Some(whole) = number.as_u64() {
                    visitor.visit_u64(whole)
                } else if let Some(whole) = number.as_i64() {
                    visitor.visit_i64(whole)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Value::Array(values) => {
                let place = |(number, value)| Place { path: format!("{path}[{number}]"), value };
                let mut places = SeqDeserializer::new(values.into_iter().enumerate().map(place));
                let read = visitor.visit_seq(&mut places)?;
                places.end()?;
                Ok(read)
            }
            Value::Object(table) => visitor.visit_map(entries(&path, table)),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.read(|Place { path, value }| match value {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            // A variant with values of its own: `{ Variant = { … } }`.
            Value::Object(table) if table.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(entries(&path, table)))
            }
            other => Err(de::Error::custom(format_args!("expected a name, found {other}"))),
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Misfit> for Place {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Misfit { path: None, fault: Fault::Other(message.to_string()) }
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let range = match expected.as_str() {
            "u8" => format!("from 0 to {}", u8::MAX),
            "u16" => format!("from 0 to {}", u16::MAX),
            "u32" => format!("from 0 to {}", u32::MAX),
            "u64" | "usize" => "of 0 or more".to_owned(),
            _ => {
                return de::Error::custom(format_args!(
                    "{found} is impossible; expected {expected}"
                ));
            }
        };
        de::Error::custom(format_args!("{found} is out of range; it takes a whole number {range}"))
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Misfit { path: None, fault: Fault::Name { found: found.to_owned(), known } }
    }
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::Name { found, .. } => f.write_str(found),
            Fault::Other(reason) => f.write_str(reason),
        }
    }
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Self {
        let key = misfit.path.unwrap_or_default();
        match misfit.fault {
            Fault::Name { found, known } => Error::UnknownValue {
                nearest: nearest(&found, known.iter().copied()).map(str::to_owned),
                key,
                found,
                known,
            },
            Fault::Other(reason) if key.is_empty() => Error::Options { reason },
            Fault::Other(reason) => Error::Unfit { key, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::serde::{Deserialize, Serialize};
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(crate = "burn::serde")]
    struct Toy {
        curve: Curve,
        decay: Option<Decay>,
        sides: [usize; 2],
        rate: f32,
        start: Start,
        extra: Map<String, Value>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(crate = "burn::serde", rename_all = "kebab-case")]
    enum Curve {
        Constant,
        Cosine,
        OneCycle,
    }

    /// An enum whose variants are told apart by a key of their table.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(crate = "burn::serde", tag = "kind", rename_all = "lowercase")]
    enum Decay {
        Weights { factor: f64 },
        Nothing,
    }

    /// As burn's configs write an enum with values.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(crate = "burn::serde")]
    enum Start {
        Zeros,
        Normal { deviation: f64 },
        Fixed(f64),
    }

    fn toy() -> Toy {
        Toy {
            curve: Curve::OneCycle,
            decay: Some(Decay::Weights { factor: 0.1 }),
            sides: [2, 3],
            rate: 0.3,
            start: Start::Normal { deviation: 2.0 },
            extra: Map::from_iter([("any".to_owned(), json!([1, -2, 0.5, null, { "a": true }]))]),
        }
    }

    fn refused(pointer: &str, value: Value) -> String {
        let mut table = serde_json::to_value(toy()).unwrap();
        *table.pointer_mut(pointer).unwrap() = value;
        read::<Toy>(table).unwrap_err().to_string()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let others = Toy {
            curve: Curve::Cosine,
            decay: Some(Decay::Nothing),
            start: Start::Fixed(-1.5),
            ..toy()
        };
        let absent = Toy { curve: Curve::Constant, decay: None, start: Start::Zeros, ..toy() };
        for toy in [toy(), others, absent] {
            assert_eq!(read::<Toy>(serde_json::to_value(&toy).unwrap()).unwrap(), toy);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_key_and_the_known_ones() {
        assert_eq!(
            refused("/curve", json!("one-cylce")),
            "`curve` takes constant, cosine or one-cycle, not \"one-cylce\"; \
             did you mean `one-cycle`?"
        );
        assert_eq!(
            refused("/decay/kind", json!("weight")),
            "`decay.kind` takes weights or nothing, not \"weight\"; did you mean `weights`?"
        );
        assert_eq!(
            refused("/start", json!("xyzzy")),
            "`start` takes Zeros, Normal or Fixed, not \"xyzzy\""
        );
        assert_eq!(
            refused("/start", json!({ "Norml": { "deviation": 1.0 } })),
            "`start` takes Zeros, Normal or Fixed, not \"Norml\"; did you mean `Normal`?"
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_by_its_path() {
        for (pointer, value, message) in [
            (
                "/sides/1",
                json!(-1),
                "`sides[1]`: integer `-1` is out of range; it takes a whole number of 0 or more",
            ),
            ("/sides", json!([1]), "`sides`: invalid length 1, expected an array of length 2"),
            (
                "/sides",
                json!([1, 2, 3]),
                "`sides`: invalid length 3, expected 2 elements in sequence",
            ),
            ("/curve", json!(5), "`curve`: expected a name, found 5"),
            ("/rate", json!("x"), "`rate`: invalid type: string \"x\", expected f32"),
            (
                "/start/Normal/deviation",
                json!(true),
                "`start.Normal.deviation`: invalid type: boolean `true`, expected f64",
            ),
            ("", json!(1), "impossible options: invalid type: integer `1`, expected struct Toy"),
        ] {
            assert_eq!(refused(pointer, value), message);
        }
    }
}
