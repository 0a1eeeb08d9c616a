//! `records!`: fields declared once; the codec and `Debug` follow.

use std::borrow::Cow;

/// A string field; `None` is jute's null.
pub type Str<'a> = Option<Cow<'a, str>>;
/// A buffer field; `None` is jute's null, which clients can tell from empty.
pub type Buf<'a> = Option<&'a [u8]>;

/// A borrowed, non-null string field.
#[must_use]
pub fn text(value: &str) -> Str<'_> {
    Some(Cow::Borrowed(value))
}

/// Declares records: a struct, its [`Decode`](crate::Decode) and its [`Encode`](crate::Encode), in
/// field order.
macro_rules! records {
    ($( $(#[$meta:meta])* pub struct $name:ident $(<$life:lifetime>)? {
        $( $(#[$field_meta:meta])* $field:ident : $type:ty ),* $(,)?
    } )*) => {
        $( records!(@one [$(#[$meta])*] $name [$($life)?] { $( [$(#[$field_meta])*] $field : $type ),* }); )*
    };
    (@one [$($meta:tt)*] $name:ident [] { $( [$($field_meta:tt)*] $field:ident : $type:ty ),* }) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $( $($field_meta)* pub $field: $type ),* }
        impl<'a> $crate::Decode<'a> for $name { records!(@decode $name { $( $field : $type ),* }); }
        impl $crate::Encode for $name { records!(@encode { $( $field ),* }); }
    };
    (@one [$($meta:tt)*] $name:ident [$life:lifetime] { $( [$($field_meta:tt)*] $field:ident : $type:ty ),* }) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name<$life> { $( $($field_meta)* pub $field: $type ),* }
        impl<$life> $crate::Decode<$life> for $name<$life> {
            records!(@decode $name { $( $field : $type ),* });
        }
        impl $crate::Encode for $name<'_> { records!(@encode { $( $field ),* }); }
    };
    (@decode $name:ident { $( $field:ident : $type:ty ),* }) => {
        fn decode(reader: &mut $crate::Reader<'a>) -> Result<Self, $crate::DecodeError> {
            Ok(Self {
                $( $field: reader
                    .read::<$type>()
                    .map_err(|error| error.within(stringify!($name), stringify!($field)))?, )*
            })
        }
    };
    (@encode { $( $field:ident ),* }) => {
        fn encode(&self, out: &mut bytes::BytesMut) {
            $( self.$field.encode(out); )*
        }
    };
}
