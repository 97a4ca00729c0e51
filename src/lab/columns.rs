//! A row of results: named values in order, whatever the experiment.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What stands in a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A measurement; may be infinite or not a number.
    Number(f64),
    /// A count, a seed, a width in bits.
    Integer(u64),
    /// A name.
    Text(String),
}

impl From<f64> for Value {
    fn from(v: f64) -> Value {
        Value::Number(v)
    }
}

impl From<u64> for Value {
    fn from(v: u64) -> Value {
        Value::Integer(v)
    }
}

impl From<usize> for Value {
    fn from(v: usize) -> Value {
        Value::Integer(v as u64)
    }
}

impl From<bool> for Value {
    /// 1 or 0.
    fn from(v: bool) -> Value {
        Value::Integer(v.into())
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::Text(v.into())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Value {
        Value::Text(v)
    }
}

impl fmt::Display for Value {
    /// Numbers are read back to the bit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Short where it is large or small.
            Value::Number(v) if v.is_finite() && *v != 0.0 && !(1e-4..1e15).contains(&v.abs()) => {
                write!(f, "{v:e}")
            }
            Value::Number(v) => write!(f, "{v}"),
            Value::Integer(v) => write!(f, "{v}"),
            Value::Text(v) => f.write_str(v),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            // JSON has no such numbers.
            Value::Number(v) if !v.is_finite() => to.serialize_str(&v.to_string()),
            Value::Number(v) => to.serialize_f64(*v),
            Value::Integer(v) => to.serialize_u64(*v),
            Value::Text(v) => to.serialize_str(v),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        struct ValueVisitor;
        impl Visitor<'_> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number or a text")
            }
            fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
                Ok(Value::Number(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
                Ok(Value::Integer(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
                Ok(Value::Number(v as f64))
            }
            fn visit_str<E>(self, v: &str) -> Result<Value, E> {
                Ok(match v {
                    "NaN" => Value::Number(f64::NAN),
                    "inf" => Value::Number(f64::INFINITY),
                    "-inf" => Value::Number(f64::NEG_INFINITY),
                    text => Value::Text(text.into()),
                })
            }
        }
        from.deserialize_any(ValueVisitor)
    }
}

/// A row: names and values in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Columns(Vec<(String, Value)>);

impl Columns {
    /// No column.
    pub fn new() -> Columns {
        Columns::default()
    }

    /// With one more column.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Columns {
        self.0.push((name.into(), value.into()));
        self
    }

    /// With the columns of `other` behind its own.
    #[must_use]
    pub fn and(mut self, other: &Columns) -> Columns {
        self.0.extend(other.0.iter().cloned());
        self
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of a column, if it is there.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// A number; NaN where the column is missing or a text.
    pub fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Value::Number(v)) => *v,
            Some(Value::Integer(v)) => *v as f64,
            _ => f64::NAN,
        }
    }

    /// What a column says; empty where it is missing.
    pub fn text(&self, name: &str) -> String {
        self.get(name).map(Value::to_string).unwrap_or_default()
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Columns, D::Error> {
        struct ColumnsVisitor;
        impl<'de> Visitor<'de> for ColumnsVisitor {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of numbers and texts")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Columns, M::Error> {
                let mut columns = Columns::new();
                while let Some(entry) = map.next_entry()? {
                    columns.0.push(entry);
                }
                Ok(columns)
            }
        }
        from.deserialize_map(ColumnsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was() {
        let row = Columns::new()
            .with("network", "vgg11")
            .with("seed", u64::MAX)
            .with("tau", 1e-7)
            .with("whole", 100.0)
            .with("third", 1.0 / 3.0)
            .with("worst", f64::NEG_INFINITY);
        let text = serde_json::to_string(&row).unwrap();
        assert!(
            text.starts_with(r#"{"network":"vgg11","seed":18446744073709551615,"tau":1e-7,"whole":100.0,"#)
        );
        assert_eq!(serde_json::from_str::<Columns>(&text).unwrap(), row);
        assert!(serde_json::from_str::<Columns>(r#"{"a":"NaN"}"#).unwrap().number("a").is_nan());
        assert!(serde_json::from_str::<Columns>(r#"{"a":[1]}"#).is_err());
    }

    #[test]
    fn numbers_are_printed_to_the_bit() {
        for v in [0.1 + 0.2, 5.960_464_477_539_063e-8, 1e300, -1.5, 0.0, f64::INFINITY, 1e-4] {
            let text = Value::Number(v).to_string();
            assert_eq!(text.parse::<f64>().unwrap(), v, "{text}");
        }
        assert_eq!(Value::Number(1e-7).to_string(), "1e-7");
    }
}
