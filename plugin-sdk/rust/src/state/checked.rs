//! Deserializes, and compares with the shape of what was serialized.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::shape::{Plain, Shape, names};

/// Holds the first difference: postcard's errors have no room for a text.
#[derive(Default)]
pub(super) struct Wanted(RefCell<Option<String>>);

impl Wanted {
    pub(super) fn checked<'c, D>(&'c self, shape: &'c Shape, inner: D) -> Checked<'c, D> {
        Checked { inner, shape, wanted: self }
    }

    /// The shapes of the parts of a tuple of this length.
    fn parts<'c, E: serde::de::Error>(
        &self,
        shape: &'c Shape,
        len: usize,
    ) -> Result<&'c [Shape], E> {
        match shape {
            Shape::Unknown => Ok(&[]),
            Shape::Tuple(parts) if parts.len() == len => Ok(parts),
            was => Err(self.differs(was, &format_args!("a tuple of {len}"))),
        }
    }

    /// The shapes of the fields of a struct with these names.
    fn fields<'c, E: serde::de::Error>(
        &self,
        shape: &'c Shape,
        fields: &[&str],
    ) -> Result<&'c [(String, Shape)], E> {
        match shape {
            Shape::Unknown => Ok(&[]),
            Shape::Struct(there) if there.iter().map(|(name, _)| name).eq(fields) => Ok(there),
            was => {
                let wanted = names(fields.iter());
                Err(self.differs(was, &format_args!("a struct of {wanted}")))
            }
        }
    }

    pub(super) fn difference(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    fn differs<E: serde::de::Error>(&self, was: &dyn fmt::Display, wanted: &dyn fmt::Display) -> E {
        self.0.borrow_mut().get_or_insert_with(|| format!("{was}, and {wanted} is wanted"));
        E::custom("another shape")
    }
}

/// A deserializer that refuses what differs from the shape.
pub(super) struct Checked<'c, D> {
    inner: D,
    shape: &'c Shape,
    wanted: &'c Wanted,
}

static UNKNOWN: Shape = Shape::Unknown;

impl<'c, 'de, D: Deserializer<'de>> Checked<'c, D> {
    fn plain(&self, wanted: Plain) -> Result<(), D::Error> {
        match self.shape {
            Shape::Unknown => Ok(()),
            Shape::Plain(plain) if *plain == wanted => Ok(()),
            was => Err(self.wanted.differs(was, &wanted)),
        }
    }

    fn visitor<V>(&self, visitor: V, children: Children<'c>) -> Within<'c, V> {
        Within { visitor, children, wanted: self.wanted }
    }
}

/// The shapes of the parts that a visitor receives.
#[derive(Clone, Copy)]
enum Children<'c> {
    One(&'c Shape),
    Parts(&'c [Shape]),
    Fields(&'c [(String, Shape)]),
    Entry(&'c Shape, &'c Shape),
    Variants(&'c Shape),
}

macro_rules! plain {
    ($($method:ident => $plain:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.plain(Plain::$plain)?;
            self.inner.$method(visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Checked<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_bool => Bool,
        deserialize_i8 => I8,
        deserialize_i16 => I16,
        deserialize_i32 => I32,
        deserialize_i64 => I64,
        deserialize_i128 => I128,
        deserialize_u8 => U8,
        deserialize_u16 => U16,
        deserialize_u32 => U32,
        deserialize_u64 => U64,
        deserialize_u128 => U128,
        deserialize_f32 => F32,
        deserialize_f64 => F64,
        deserialize_char => Char,
        deserialize_str => Str,
        deserialize_string => Str,
        deserialize_unit => Unit,
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        // A list of bytes is encoded in the same way.
        match self.shape {
            Shape::Seq(element)
                if matches!(**element, Shape::Unknown | Shape::Plain(Plain::U8)) => {}
            _ => self.plain(Plain::Bytes)?,
        }
        self.inner.deserialize_bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_identifier(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let inner = match self.shape {
            Shape::Unknown => &UNKNOWN,
            Shape::Option(inner) => inner,
            was => return Err(self.wanted.differs(was, &"an option")),
        };
        let visitor = self.visitor(visitor, Children::One(inner));
        self.inner.deserialize_option(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.plain(Plain::Unit)?;
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.visitor(visitor, Children::One(self.shape));
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        const BYTE: &Shape = &Shape::Plain(Plain::U8);
        let element = match self.shape {
            Shape::Unknown => &UNKNOWN,
            Shape::Seq(element) => element,
            Shape::Plain(Plain::Bytes) => BYTE,
            was => return Err(self.wanted.differs(was, &"a list")),
        };
        let visitor = self.visitor(visitor, Children::One(element));
        self.inner.deserialize_seq(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let parts = self.wanted.parts(self.shape, len)?;
        let visitor = self.visitor(visitor, Children::Parts(parts));
        self.inner.deserialize_tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let (key, value) = match self.shape {
            Shape::Unknown => (&UNKNOWN, &UNKNOWN),
            Shape::Map(entry) => (&entry.0, &entry.1),
            was => return Err(self.wanted.differs(was, &"a map")),
        };
        let visitor = self.visitor(visitor, Children::Entry(key, value));
        self.inner.deserialize_map(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let there = self.wanted.fields(self.shape, fields)?;
        let visitor = self.visitor(visitor, Children::Fields(there));
        self.inner.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let wanted = || format!("an enum of {}", names(variants.iter()));
        match self.shape {
            Shape::Unknown => {}
            Shape::Enum(there) => {
                for (index, (name, _)) in there {
                    if variants.get(*index as usize) != Some(&&**name) {
                        let was = format!("the variant {index}, `{name}`");
                        return Err(self.wanted.differs(&was, &wanted()));
                    }
                }
            }
            was => return Err(self.wanted.differs(was, &wanted())),
        }
        let visitor = self.visitor(visitor, Children::Variants(self.shape));
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A visitor, with the shapes of what it receives.
struct Within<'c, V> {
    visitor: V,
    children: Children<'c>,
    wanted: &'c Wanted,
}

impl<'c, V> Within<'c, V> {
    /// An accessor with the same shapes.
    fn access<A>(&self, inner: A) -> Access<'c, A> {
        Access { inner, children: self.children, next: 0, wanted: self.wanted }
    }

    fn one<D>(&self, inner: D) -> Checked<'c, D> {
        let shape = match self.children {
            Children::One(shape) => shape,
            _ => &UNKNOWN,
        };
        self.wanted.checked(shape, inner)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Within<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let inner = self.one(inner);
        self.visitor.visit_some(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let inner = self.one(inner);
        self.visitor.visit_newtype_struct(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let access = self.access(inner);
        self.visitor.visit_seq(access)
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let access = self.access(inner);
        self.visitor.visit_map(access)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let access = self.access(inner);
        self.visitor.visit_enum(access)
    }
}

struct Access<'c, A> {
    inner: A,
    children: Children<'c>,
    next: usize,
    wanted: &'c Wanted,
}

impl<'c, A> Access<'c, A> {
    fn seed<S>(&self, seed: S, shape: &'c Shape) -> Seed<'c, S> {
        Seed { seed, shape, wanted: self.wanted }
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Access<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let shape = match self.children {
            Children::One(element) => element,
            Children::Parts(parts) => parts.get(self.next).unwrap_or(&UNKNOWN),
            Children::Fields(fields) => fields.get(self.next).map_or(&UNKNOWN, |(_, shape)| shape),
            Children::Entry(..) | Children::Variants(_) => &UNKNOWN,
        };
        self.next += 1;
        let seed = self.seed(seed, shape);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Access<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let Children::Entry(key, _) = self.children else {
            return self.inner.next_key_seed(seed);
        };
        let seed = self.seed(seed, key);
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let Children::Entry(_, value) = self.children else {
            return self.inner.next_value_seed(seed);
        };
        let seed = self.seed(seed, value);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'c, A: EnumAccess<'de>> EnumAccess<'de> for Access<'c, A> {
    type Error = A::Error;
    type Variant = Variant<'c, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let index = Cell::new(None);
        let (value, inner) = self.inner.variant_seed(Indexed { inner: seed, index: &index })?;
        let shape = match (self.children, index.get()) {
            (Children::Variants(Shape::Enum(variants)), Some(index)) => {
                match variants.get(&index) {
                    Some((_, shape)) => shape,
                    // A variant that is not in the shape was not written.
                    None => return Err(A::Error::custom("an unknown variant")),
                }
            }
            _ => &UNKNOWN,
        };
        Ok((value, Variant { inner, shape, wanted: self.wanted }))
    }
}

/// The contents of a variant of an enum.
struct Variant<'c, A> {
    inner: A,
    shape: &'c Shape,
    wanted: &'c Wanted,
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Variant<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        match self.shape {
            Shape::Unknown | Shape::Plain(Plain::Unit) => self.inner.unit_variant(),
            was => Err(self.wanted.differs(was, &Plain::Unit)),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = Seed { seed, shape: self.shape, wanted: self.wanted };
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let parts = self.wanted.parts(self.shape, len)?;
        let children = Children::Parts(parts);
        self.inner.tuple_variant(len, Within { visitor, children, wanted: self.wanted })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let there = self.wanted.fields(self.shape, fields)?;
        let children = Children::Fields(there);
        self.inner.struct_variant(fields, Within { visitor, children, wanted: self.wanted })
    }
}

struct Seed<'c, S> {
    seed: S,
    shape: &'c Shape,
    wanted: &'c Wanted,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(self.wanted.checked(self.shape, inner))
    }
}

/// Stores the index of a variant when it is deserialized.
struct Indexed<'c, T> {
    inner: T,
    index: &'c Cell<Option<u32>>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Indexed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Indexed { inner, index: self.index })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Indexed<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Indexed { inner: visitor, index: self.index })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Indexed<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_u32<E: serde::de::Error>(self, index: u32) -> Result<V::Value, E> {
        self.index.set(Some(index));
        self.inner.visit_u64(index.into())
    }
}
