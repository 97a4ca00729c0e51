//! The protocol of an experiment, what can be chosen of it: a struct made by [`protocol!`], which lists each field once,
//! with its manual and its defaults, and is read from JSON.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::distance::Order;
use super::training::Algorithm;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::kink::{Composition, Convention};
use crate::precision::Precision;

/// What can be chosen of an experiment.
pub trait Protocol: Serialize + DeserializeOwned {
    /// Its fields, in the order of the manual.
    const FIELDS: &'static [Field];

    /// The small size, which takes minutes, or the published one.
    fn of_size(full: bool) -> Self;
}

/// A field of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// As in JSON.
    pub name: &'static str,
    /// What it means.
    pub about: &'static str,
}

/// The field that chooses among the defaults, true for those of the published size; every protocol has it.
pub const FULL: &str = "full";

/// Defines a protocol. A field is `name: type = default;`, or `name: type = default, full: published;` where the published
/// size is another one.
macro_rules! protocol {
    (
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $small:expr $(, full: $full:expr)?;)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $Name {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for $Name {
            /// The small size.
            fn default() -> Self {
                $crate::lab::Protocol::of_size(false)
            }
        }

        impl $crate::lab::Protocol for $Name {
            const FIELDS: &'static [$crate::lab::Field] = &[$(
                $crate::lab::Field { name: stringify!($field), about: concat!($($doc),+) },
            )+];

            fn of_size(full: bool) -> Self {
                let _ = full;
                $Name { $($field: protocol!(@default full, $small $(, $full)?),)+ }
            }
        }
    };
    (@default $size:ident, $small:expr) => { $small };
    (@default $size:ident, $small:expr, $full:expr) => { if $size { $full } else { $small } };
}
pub(super) use protocol;

/// A protocol as JSON.
pub(super) fn defaults<P: Protocol>(full: bool) -> Map<String, Value> {
    match serde_json::to_value(P::of_size(full)) {
        Ok(Value::Object(map)) => map,
        other => unreachable!("a struct of numbers and texts: {other:?}"),
    }
}

/// A protocol from some of its fields; those that are missing have their defaults.
///
/// Errors: [`Error::NotFound`] for a field that is none, [`Error::InvalidArgument`] with its name for a wrong value.
pub fn read<P: Protocol>(given: &Map<String, Value>) -> Result<P> {
    let full = match given.get(FULL) {
        None => false,
        Some(Value::Bool(full)) => *full,
        Some(other) => return Err(Error::invalid(FULL, "true or false", other)),
    };
    let mut all = defaults::<P>(full);
    let mut protocol = P::of_size(full);
    for (name, value) in given.iter().filter(|(name, _)| *name != FULL) {
        if !all.contains_key(name) {
            let known: Vec<&str> = P::FIELDS.iter().map(|field| field.name).chain([FULL]).collect();
            return Err(Error::NotFound { what: "field", name: name.clone(), known: known.join(", ") });
        }
        // One by one: what fails is then the one that came last.
        all.insert(name.clone(), value.clone());
        protocol = serde_json::from_value(Value::Object(all.clone()))
            .map_err(|e| Error::invalid(name, expected(&e), value))?;
    }
    Ok(protocol)
}

/// What serde expected, in words of JSON.
fn expected(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let expected = text.rsplit_once(", expected ").map_or(&*text, |(_, expected)| expected);
    match expected {
        "usize" | "u64" => "a whole number, at least 0",
        "f64" => "a number",
        "a sequence" => "a list",
        "a string" => "a text",
        other => other,
    }
    .to_string()
}

/// A mistyped number shall not fill the memory with units.
const LARGEST: u64 = 1_000_000;

/// Refuses 0, and what is absurd.
pub(super) fn positive(name: &str, number: usize) -> Result<usize> {
    if number == 0 {
        Err(Error::invalid(name, "at least 1", 0))
    } else {
        at_most(name, number as u64).map(|_| number)
    }
}

/// Refuses what is absurd.
pub(super) fn at_most(name: &str, number: u64) -> Result<u64> {
    if number > LARGEST {
        Err(Error::invalid(name, format!("at most {LARGEST}"), number))
    } else {
        Ok(number)
    }
}

/// A choice in JSON: its name as the command line takes it, or a width in bits.
macro_rules! named {
    ($($Type:ty),+) => {$(
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $Type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
                from.deserialize_any(Name(PhantomData))
            }
        }
    )+};
}
named!(DType, Precision, Composition, Convention, Order, Algorithm);

struct Name<T>(PhantomData<T>);

impl<T: FromStr<Err = Error>> Visitor<'_> for Name<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name or a width in bits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<T, E> {
        text.parse().map_err(|error| match error {
            Error::InvalidArgument { expected, .. } => {
                E::invalid_value(Unexpected::Str(text), &expected.as_str())
            }
            other => E::custom(other),
        })
    }

    fn visit_u64<E: de::Error>(self, bits: u64) -> std::result::Result<T, E> {
        self.visit_str(&bits.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    protocol! {
        /// A protocol.
        pub struct Sample {
            /// Storage types,
            /// in bits.
            precisions: Vec<DType> = vec![DType::F16];
            /// Some.
            seeds: u64 = 2, full: 100;
            /// At most.
            limit: Option<usize> = Some(50), full: None;
        }
    }

    fn read_text(json: &str) -> Result<Sample> {
        read(serde_json::from_str::<Value>(json).unwrap().as_object().unwrap())
    }

    #[test]
    fn what_is_missing_has_the_default_of_the_size() {
        assert_eq!(read_text("{}").unwrap(), Sample::default());
        let full = read_text(r#"{"full": true}"#).unwrap();
        assert_eq!((full.seeds, full.limit), (100, None));
        let own = read_text(r#"{"full": true, "precisions": [32, "f64", "16"], "seeds": 7}"#).unwrap();
        assert_eq!((own.precisions, own.seeds), (vec![DType::F32, DType::F64, DType::F16], 7));
        assert_eq!(read_text(r#"{"limit": null}"#).unwrap().limit, None);
        assert_eq!(Sample::FIELDS[0].about, " Storage types, in bits.");
        assert_eq!(
            Value::Object(defaults::<Sample>(false)).to_string(),
            r#"{"limit":50,"precisions":["f16"],"seeds":2}"#
        );
    }

    #[test]
    fn wrong_fields_are_named() {
        for (json, message) in [
            (r#"{"seed": 7}"#, "no field named `seed`; known: precisions, seeds, limit, full"),
            (r#"{"seeds": "7"}"#, "argument `seeds`: expected a whole number, at least 0, got \"7\""),
            (r#"{"seeds": -7}"#, "argument `seeds`: expected a whole number, at least 0, got -7"),
            (r#"{"seeds": 7.5}"#, "argument `seeds`: expected a whole number, at least 0, got 7.5"),
            (r#"{"limit": 3, "precisions": 16}"#, "argument `precisions`: expected a list, got 16"),
            (r#"{"precisions": [8]}"#, "argument `precisions`: expected 16, 32 or 64, got [8]"),
            (
                r#"{"precisions": [null]}"#,
                "argument `precisions`: expected a name or a width in bits, got [null]",
            ),
            (r#"{"full": 1}"#, "argument `full`: expected true or false, got 1"),
        ] {
            assert_eq!(read_text(json).unwrap_err().to_string(), message);
        }
    }
}
