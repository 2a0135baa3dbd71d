//! The shape of a value, found by serializing it.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde::{Deserialize, Serialize};

/// What serde knows of a type. Parts that did not occur (the elements of an empty list) are
/// unknown. A newtype has the shape of what it holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) enum Shape {
    #[default]
    Unknown,
    Plain(Plain),
    Option(Box<Shape>),
    Seq(Box<Shape>),
    Tuple(Vec<Shape>),
    Map(Box<(Shape, Shape)>),
    Struct(Vec<(String, Shape)>),
    /// The variants that occurred: by index, the name and what it holds.
    Enum(BTreeMap<u32, (String, Shape)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Plain {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    Unit,
}

impl Shape {
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        let mut shape = Self::Unknown;
        value.serialize(Tracer(&mut shape)).map_err(|error| error.0)?;
        Ok(shape)
    }

    fn plain(&mut self, plain: Plain) {
        if matches!(self, Self::Unknown) {
            *self = Self::Plain(plain);
        }
    }

    fn seq(&mut self) -> &mut Self {
        if matches!(self, Self::Unknown) {
            *self = Self::Seq(Box::default());
        }
        match self {
            Self::Seq(element) => element,
            other => other,
        }
    }

    fn tuple(&mut self, len: usize) {
        if matches!(self, Self::Unknown) {
            *self = Self::Tuple(vec![Self::Unknown; len]);
        }
    }

    fn fields(&mut self) {
        if matches!(self, Self::Unknown) {
            *self = Self::Struct(Vec::new());
        }
    }

    fn variant(&mut self, index: u32, name: &str) -> &mut Self {
        if matches!(self, Self::Unknown) {
            *self = Self::Enum(BTreeMap::new());
        }
        match self {
            Self::Enum(variants) => {
                &mut variants.entry(index).or_insert_with(|| (name.to_owned(), Self::Unknown)).1
            }
            other => other,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("something"),
            Self::Plain(plain) => write!(f, "{plain}"),
            Self::Option(_) => f.write_str("an option"),
            Self::Seq(_) => f.write_str("a list"),
            Self::Tuple(parts) => write!(f, "a tuple of {}", parts.len()),
            Self::Map(_) => f.write_str("a map"),
            Self::Struct(fields) => {
                write!(f, "a struct of {}", names(fields.iter().map(|(name, _)| name)))
            }
            Self::Enum(variants) => {
                write!(f, "an enum of {}", names(variants.values().map(|(name, _)| name)))
            }
        }
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "a bool",
            Self::I8 => "an i8",
            Self::I16 => "an i16",
            Self::I32 => "an i32",
            Self::I64 => "an i64",
            Self::I128 => "an i128",
            Self::U8 => "a u8",
            Self::U16 => "a u16",
            Self::U32 => "a u32",
            Self::U64 => "a u64",
            Self::U128 => "a u128",
            Self::F32 => "an f32",
            Self::F64 => "an f64",
            Self::Char => "a char",
            Self::Str => "a text",
            Self::Bytes => "bytes",
            Self::Unit => "nothing",
        })
    }
}

pub(super) fn names(names: impl Iterator<Item = impl AsRef<str>>) -> String {
    names.map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Adds what is serialized to a shape. All elements are visited: one may show what another lacks.
struct Tracer<'a>(&'a mut Shape);

#[derive(Debug)]
struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

macro_rules! plain {
    ($($method:ident $type:ty => $plain:ident,)*) => {
        $(fn $method(self, _: $type) -> Result<(), Error> {
            self.0.plain(Plain::$plain);
            Ok(())
        })*
    };
}

impl<'a> Serializer for Tracer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Fields<'a>;

    plain! {
        serialize_bool bool => Bool,
        serialize_i8 i8 => I8,
        serialize_i16 i16 => I16,
        serialize_i32 i32 => I32,
        serialize_i64 i64 => I64,
        serialize_i128 i128 => I128,
        serialize_u8 u8 => U8,
        serialize_u16 u16 => U16,
        serialize_u32 u32 => U32,
        serialize_u64 u64 => U64,
        serialize_u128 u128 => U128,
        serialize_f32 f32 => F32,
        serialize_f64 f64 => F64,
        serialize_char char => Char,
        serialize_str &str => Str,
        serialize_bytes &[u8] => Bytes,
        serialize_unit_struct &'static str => Unit,
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.plain(Plain::Unit);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        if matches!(self.0, Shape::Unknown) {
            *self.0 = Shape::Option(Box::default());
        }
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        if matches!(self.0, Shape::Unknown) {
            *self.0 = Shape::Option(Box::default());
        }
        match self.0 {
            Shape::Option(inner) => value.serialize(Tracer(inner)),
            _ => Ok(()),
        }
    }

    fn serialize_unit_variant(self, _: &str, index: u32, name: &str) -> Result<(), Error> {
        self.0.variant(index, name).plain(Plain::Unit);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &str,
        index: u32,
        name: &str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(Tracer(self.0.variant(index, name)))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Error> {
        Ok(Elements(self.0.seq()))
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts<'a>, Error> {
        self.0.tuple(len);
        Ok(Parts { shape: self.0, next: 0 })
    }

    fn serialize_tuple_struct(self, _: &str, len: usize) -> Result<Parts<'a>, Error> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &str,
        index: u32,
        name: &str,
        len: usize,
    ) -> Result<Parts<'a>, Error> {
        Tracer(self.0.variant(index, name)).serialize_tuple(len)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, Error> {
        if matches!(self.0, Shape::Unknown) {
            *self.0 = Shape::Map(Box::default());
        }
        Ok(Entries(self.0))
    }

    fn serialize_struct(self, _: &str, _: usize) -> Result<Fields<'a>, Error> {
        self.0.fields();
        Ok(Fields { shape: self.0, next: 0 })
    }

    fn serialize_struct_variant(
        self,
        _: &str,
        index: u32,
        name: &str,
        _: usize,
    ) -> Result<Fields<'a>, Error> {
        let shape = self.0.variant(index, name);
        shape.fields();
        Ok(Fields { shape, next: 0 })
    }

    fn is_human_readable(&self) -> bool {
        false // Like postcard.
    }
}

struct Elements<'a>(&'a mut Shape);

impl SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Tracer(self.0))
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

struct Parts<'a> {
    shape: &'a mut Shape,
    next: usize,
}

impl Parts<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let Shape::Tuple(parts) = &mut *self.shape else { return Ok(()) };
        let Some(part) = parts.get_mut(self.next) else { return Ok(()) };
        self.next += 1;
        value.serialize(Tracer(part))
    }
}

macro_rules! parts {
    ($($interface:ident $method:ident,)*) => {
        $(impl $interface for Parts<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.part(value)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

struct Entries<'a>(&'a mut Shape);

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        match self.0 {
            Shape::Map(entry) => key.serialize(Tracer(&mut entry.0)),
            _ => Ok(()),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match self.0 {
            Shape::Map(entry) => value.serialize(Tracer(&mut entry.1)),
            _ => Ok(()),
        }
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

struct Fields<'a> {
    shape: &'a mut Shape,
    next: usize,
}

impl Fields<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let Shape::Struct(fields) = &mut *self.shape else { return Ok(()) };
        if self.next == fields.len() {
            fields.push((name.to_owned(), Shape::Unknown));
        }
        let (_, shape) = &mut fields[self.next];
        self.next += 1;
        value.serialize(Tracer(shape))
    }
}

macro_rules! fields {
    ($($interface:ident,)*) => {
        $(impl $interface for Fields<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        })*
    };
}

fields! { SerializeStruct, SerializeStructVariant, }
