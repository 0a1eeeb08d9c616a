//! JSON in the shape that upstream's `JsonOutputter` gives it: fields in their order, two blanks per
//! object, arrays in one line.

use std::io;

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::ser::Formatter;

/// A value whose fields keep their order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// Fields of an object.
pub(super) type Fields = Vec<(String, Json)>;

impl Json {
    /// An object of fields with fixed names.
    pub(super) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(self::fields(fields))
    }

    pub(super) fn list(values: impl IntoIterator<Item = Self>) -> Self {
        Self::List(values.into_iter().collect())
    }

    /// As upstream has it on its wire, without a line end.
    pub(super) fn pretty(&self) -> String {
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, Pretty::default());
        // Writing to memory does not fail, and keys are strings.
        let _ = self.serialize(&mut serializer);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Without a blank.
    pub(super) fn compact(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

pub(super) fn fields<const N: usize>(fields: [(&str, Json); N]) -> Fields {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Self {
        Self::Unsigned(value as u64)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<i32> for Json {
    fn from(value: i32) -> Self {
        Self::Signed(value.into())
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            // As Jackson: JSON has no such number.
            Self::Double(value) if value.is_nan() => serializer.serialize_str("NaN"),
            Self::Double(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(values) => {
                let mut list = serializer.serialize_seq(None)?;
                for value in values {
                    list.serialize_element(value)?;
                }
                list.end()
            }
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(None)?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Jackson's `DefaultPrettyPrinter`.
#[derive(Default)]
struct Pretty {
    depth: usize,
    is_empty: bool,
}

impl Pretty {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Pretty {
    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" ]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b" " } else { b", " })
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.is_empty {
            writer.write_all(b" ")?;
        } else {
            self.line(writer)?;
        }
        self.is_empty = false;
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.line(writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.is_empty = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_looks_as_upstreams() {
        let nothing = Json::object([]);
        let one = Json::object([("a", 1_i32.into()), ("b", Json::Double(0.0))]);
        let all = Json::object([
            ("list", Json::list([one, nothing.clone()])),
            ("numbers", Json::list([1_i32.into(), (-2_i32).into()])),
            ("none", Json::list([])),
            ("empty", nothing),
            ("text", "a\"\n".into()),
            ("nan", Json::Double(f64::NAN)),
            ("error", Json::Null),
        ]);
        let expected = r#"{
  "list" : [ {
    "a" : 1,
    "b" : 0.0
  }, { } ],
  "numbers" : [ 1, -2 ],
  "none" : [ ],
  "empty" : { },
  "text" : "a\"\n",
  "nan" : "NaN",
  "error" : null
}"#;
        assert_eq!(all.pretty(), expected);
    }
}
