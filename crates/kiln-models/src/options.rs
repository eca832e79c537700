//! Options: a table of values over the defaults, in which every mistake is named.

mod read;

use burn::config::Config;
use serde_json::{Map, Value};

use crate::Error;
use crate::suggest::nearest_key;

pub use read::read;

/// The options of a network, by name.
pub type Options = Map<String, Value>;

/// All options of `config` with the values they have there.
///
/// # Panics
///
/// Never for a type that derives [`Config`], which is written as a table.
pub fn table<C: Config>(config: &C) -> Options {
    match serde_json::to_value(config) {
        Ok(Value::Object(table)) => table,
        other => panic!("a config is a table, not {other:?}"),
    }
}

/// `defaults` with the values of `options`.
///
/// # Errors
///
/// Names an unknown key or value and the nearest known one, a value of the wrong type, or what no
/// network can be built from.
pub fn configure<C: Config>(defaults: &C, options: &Options) -> Result<C, Error> {
    let mut table = Value::Object(table(defaults));
    overlay(&mut table, Value::Object(options.clone()))?;
    read(table)
}

/// Lays the values of `over` over `base`, table by table; arrays are replaced as a whole.
///
/// A value must have the type of the one it replaces: a whole number where a whole number was, a
/// string for a string, an array of such values for an array. Where `base` has `null`, an option
/// that isn't set, any value goes.
///
/// # Errors
///
/// An unknown key with its full path and the nearest known one (a table for a table, a value for a
/// value), or a value of the wrong type. Then `base` is unchanged.
pub fn overlay(base: &mut Value, over: Value) -> Result<(), Error> {
    let mut merged = base.clone();
    lay(&mut merged, over, "", base)?;
    *base = merged;
    Ok(())
}

/// Lays one assignment, `key.path=value`, over `base`.
///
/// The value is a number, `true`, `false`, `[1, 2]`, a quoted string, or else the text itself.
///
/// # Errors
///
/// As [`overlay`], and for a text without `=`.
pub fn set(base: &mut Value, assignment: &str) -> Result<(), Error> {
    let bad = || Error::Assignment { text: assignment.to_owned() };
    let (path, text) = assignment.split_once('=').ok_or_else(bad)?;
    let (path, text) = (path.trim(), text.trim());
    if path.is_empty() {
        return Err(bad());
    }

    let slot = path.split('.').try_fold(&*base, |table, key| table.get(key));
    let value = match slot {
        // `name=5` is a name where a name is wanted.
        Some(Value::String(_)) if !text.starts_with('"') => Value::String(text.to_owned()),
        _ => parse(text),
    };
    let nested = path
        .rsplit('.')
        .fold(value, |value, key| Value::Object(Map::from_iter([(key.to_owned(), value)])));
    overlay(base, nested)
}

/// Lays `over` over the part of the table `all` that stands at `path`.
fn lay(base: &mut Value, over: Value, path: &str, all: &Value) -> Result<(), Error> {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match base.get_mut(&key) {
                    Some(slot) => lay(slot, value, &path, all)?,
                    None => {
                        let nearest = nearest_key(&path, keys(all, value.is_object()));
                        // A right name in the wrong table is help enough, where that is the whole recipe.
                        let table = table_of(&path);
                        let near = nearest
                            .as_ref()
                            .is_some_and(|near| table.is_empty() || table_of(near) == table);
                        let known = if near { Vec::new() } else { base.keys().cloned().collect() };
                        return Err(Error::UnknownKey { key: path, nearest, known });
                    }
                }
            }
            Ok(())
        }
        (base, over) => match fitted(base, over) {
            Ok(value) => {
                *base = value;
                Ok(())
            }
            Err(found) => Err(Error::WrongType {
                key: path.to_owned(),
                expected: if beyond(base, &found) { LIMITED } else { kind(base) },
                found: shortened(found.to_string()),
            }),
        },
    }
}

/// The table that the key at `path` is in.
fn table_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(table, _)| table)
}

/// `value` as a replacement of `base`, or back again if it has another type.
fn fitted(base: &Value, value: Value) -> Result<Value, Value> {
    match (base, &value) {
        (Value::Null, _) => Ok(value),
        (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => Ok(value),
        (Value::Number(base), Value::Number(number)) => match number.as_f64() {
            Some(float) if base.is_f64() => Ok(Value::from(float)),
            Some(_) if !number.is_f64() => Ok(value),
            _ => Err(value),
        },
        (Value::Array(bases), Value::Array(values)) => {
            // A list of tables is somebody's own to check: a list has no keys.
            let base = bases.first().filter(|base| !base.is_object());
            let Some(base) = base else { return Ok(value) };
            let fitted: Result<_, _> =
                values.iter().map(|value| fitted(base, value.clone())).collect();
            fitted.map(Value::Array).map_err(|_| value)
        }
        _ => Err(value),
    }
}

/// What an integer takes that was given more.
const LIMITED: &str = "a whole number of at most 18446744073709551615";

/// Whether `found` is a whole number, but too large a one to be held as such.
fn beyond(base: &Value, found: &Value) -> bool {
    let whole = |number: f64| number.fract() == 0.0 && number.abs() >= u64::MAX as f64;
    base.is_u64() && found.is_f64() && found.as_f64().is_some_and(whole)
}

/// The text of a value, or its beginning: a message is there to be read.
fn shortened(mut text: String) -> String {
    const MOST: usize = 60;
    if let Some((end, _)) = text.char_indices().nth(MOST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "any value",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a string",
        Value::Array(values) => match values.first() {
            Some(Value::Number(number)) if number.is_f64() => "an array of numbers",
            Some(Value::Number(_)) => "an array of whole numbers",
            Some(Value::String(_)) => "an array of strings",
            Some(Value::Object(_)) => "an array of tables",
            _ => "an array",
        },
        Value::Object(_) => "a table",
    }
}

fn parse(text: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    match text.parse::<f64>() {
        // `.5` and `1.` are numbers too; `inf` and `nan` are names.
        Ok(number) if number.is_finite() => Value::from(number),
        _ => Value::String(text.to_owned()),
    }
}

/// The paths of all tables within `table`, or of all values that are none.
fn keys(table: &Value, tables: bool) -> Vec<String> {
    fn collect(table: &Value, path: &str, tables: bool, keys: &mut Vec<String>) {
        let Value::Object(table) = table else { return };
        for (key, value) in table {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(value, &path, tables, keys);
            if value.is_object() == tables {
                keys.push(path);
            }
        }
    }

    let mut keys = Vec::new();
    collect(table, "", tables, &mut keys);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_layers::Activation;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "epochs": 20, "name": "tanh", "maps": [6, 16], "padding": null, "flip": true,
            "optimizer": { "rate": 0.1, "momentum": 0.9 },
        })
    }

    fn with(assignment: &str) -> Value {
        let mut base = base();
        set(&mut base, assignment).unwrap();
        base
    }

    fn refused(assignment: &str) -> String {
        let mut value = base();
        let error = set(&mut value, assignment).unwrap_err();
        assert_eq!(value, base(), "a refused assignment changes nothing");
        error.to_string()
    }

    #[test]
    fn sets_values_of_every_type() {
        assert_eq!(with("epochs=3")["epochs"], json!(3));
        assert_eq!(with("optimizer.rate = 1")["optimizer"]["rate"], json!(1.0));
        assert_eq!(with("optimizer.rate=.5")["optimizer"]["rate"], json!(0.5));
        assert_eq!(with("optimizer.rate=1e-3")["optimizer"]["rate"], json!(1e-3));
        assert_eq!(with("name=relu")["name"], json!("relu"));
        assert_eq!(with("name=5")["name"], json!("5"));
        assert_eq!(with("name=\"a=b\"")["name"], json!("a=b"));
        assert_eq!(with("maps=[1, 2, 3]")["maps"], json!([1, 2, 3]));
        assert_eq!(with("flip=false")["flip"], json!(false));
        assert_eq!(with("padding=2")["padding"], json!(2));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        assert_eq!(refused("epoch=3"), "unknown key `epoch`; did you mean `epochs`?");
        assert_eq!(
            refused("optimizer.rat=3"),
            "unknown key `optimizer.rat`; did you mean `optimizer.rate`?"
        );
        assert_eq!(refused("rate=3"), "unknown key `rate`; did you mean `optimizer.rate`?");
        let known = "there are epochs, flip, maps, name, optimizer, padding";
        assert_eq!(refused("xyzzy=3"), format!("unknown key `xyzzy`; {known}"));
        let other = refused("optimizer.epoch=3");
        assert!(other.contains("did you mean `epochs`?; `optimizer` has "), "{other}");
    }

    #[test]
    fn only_a_table_is_suggested_for_a_table_and_only_a_value_for_a_value() {
        assert!(refused("optimizr=3").starts_with("unknown key `optimizr`; there are "));
        assert_eq!(
            refused("optimiser.rate=3"),
            "unknown key `optimiser`; did you mean `optimizer`?"
        );
        assert!(refused("epoch.x=3").starts_with("unknown key `epoch`; there are "));
    }

    #[test]
    fn a_network_option_with_names_for_values_refuses_another_name() {
        #[derive(Config, Debug)]
        struct Toy {
            #[config(default = "Activation::Tanh")]
            activation: Activation,
        }
        let configured = |name: &str| {
            let mut table = Value::Object(table(&Toy::new()));
            set(&mut table, &format!("activation={name}")).unwrap();
            configure(&Toy::new(), table.as_object().unwrap())
        };

        assert_eq!(configured("Relu").unwrap().activation, Activation::Relu);
        assert_eq!(
            configured("Rellu").unwrap_err().to_string(),
            "`activation` takes Identity, Relu, Tanh, ScaledTanh, Sigmoid, LeakyRelu or \
             SlightlyLeakyRelu, not \"Rellu\"; did you mean `Relu`?"
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for (assignment, message) in [
            ("epochs=many", "`epochs` takes a whole number, not \"many\""),
            ("epochs=2.5", "`epochs` takes a whole number, not 2.5"),
            ("optimizer.rate=true", "`optimizer.rate` takes a number, not true"),
            ("optimizer.rate=nan", "`optimizer.rate` takes a number, not \"nan\""),
            (
                "epochs=99999999999999999999",
                "`epochs` takes a whole number of at most 18446744073709551615, not 1e+20",
            ),
            ("flip=1", "`flip` takes true or false, not 1"),
            ("maps=6", "`maps` takes an array of whole numbers, not 6"),
            ("maps=[6, \"a\"]", "`maps` takes an array of whole numbers, not [6,\"a\"]"),
            ("optimizer=sgd", "`optimizer` takes a table, not \"sgd\""),
            ("epochs.x=1", "`epochs` takes a whole number, not {\"x\":1}"),
            ("epochs=null", "`epochs` takes a whole number, not null"),
        ] {
            assert_eq!(refused(assignment), message);
        }
    }

    #[test]
    fn a_text_without_an_equals_sign_is_refused() {
        for text in ["epochs", "=3", ""] {
            assert_eq!(
                refused(text),
                format!("`{text}` is not an assignment; write key.path=value")
            );
        }
    }

    #[test]
    fn tables_merge_and_arrays_are_replaced() {
        let mut value = base();

        overlay(&mut value, json!({ "optimizer": { "momentum": 0 }, "maps": [1] })).unwrap();

        assert_eq!(value["optimizer"], json!({ "rate": 0.1, "momentum": 0.0 }));
        assert_eq!(value["maps"], json!([1]));
    }

    #[test]
    fn an_array_of_tables_is_replaced_by_another() {
        let mut value = json!({ "groups": [{ "match": "head" }] });

        overlay(&mut value, json!({ "groups": [{ "match": "stem", "frozen": true }] })).unwrap();

        assert_eq!(value["groups"][0]["match"], "stem");
        let message = set(&mut value, "groups=3").unwrap_err().to_string();
        assert_eq!(message, "`groups` takes an array of tables, not 3");
    }
}
