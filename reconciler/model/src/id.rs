//! Names, addresses and ids: small checked strings that sort and print the same everywhere.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::text::{Hex, Interner, Text};

/// Longest name, in bytes: a DNS label, so that a name can become part of any other system's name.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is not a name or an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty, too long, or has a character outside `a-z 0-9 - .`.
    #[error(
        "`{0}` is not a name: use 1 to 63 of a-z, 0-9, `-` and `.`, beginning and ending with a \
         letter or digit"
    )]
    Name(String),
    /// The text is not `application/resource`.
    #[error("`{0}` is not an address: write `application/resource`")]
    Address(String),
    /// The text is not `host/NAME` or `cluster/NAME`.
    #[error("`{0}` is not a target: write `host/NAME` or `cluster/NAME`")]
    Target(String),
}

macro_rules! string_serde {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// The name of a document or of a resource in its application. Clones share its text: a plan of a
/// fleet names the same few again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub(crate) Text);

impl Name {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = text.as_bytes();
        let ok = !bytes.is_empty()
            && bytes.len() <= NAME_BYTES_MAX
            && edge(bytes[0])
            && edge(bytes[bytes.len() - 1])
            && bytes.iter().all(|&c| edge(c) || c == b'-' || c == b'.');
        if ok { Ok(Self(text.into())) } else { Err(IdError::Name(text.to_owned())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
string_serde!(Name);

/// The address of a resource: `application/resource`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The application.
    pub application: Name,
    /// The resource in it.
    pub resource: Name,
}

impl Address {
    /// Lets the names that many addresses have in common be one.
    pub fn share(&mut self, interner: &mut Interner) {
        interner.text(&mut self.application.0);
        interner.text(&mut self.resource.0);
    }
}

impl FromStr for Address {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Address(text.to_owned());
        let (application, resource) = text.split_once('/').ok_or_else(bad)?;
        Ok(Self {
            application: application.parse().map_err(|_| bad())?,
            resource: resource.parse().map_err(|_| bad())?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.application, self.resource)
    }
}
string_serde!(Address);

/// A place where protected things live: `host/NAME` or `cluster/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetRef {
    /// A `Host` document.
    Host(Name),
    /// A `Cluster` document.
    Cluster(Name),
}

impl FromStr for TargetRef {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Target(text.to_owned());
        let (kind, name) = text.split_once('/').ok_or_else(bad)?;
        let name = name.parse().map_err(|_| bad())?;
        match kind {
            "host" => Ok(Self::Host(name)),
            "cluster" => Ok(Self::Cluster(name)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => write!(f, "host/{name}"),
            Self::Cluster(name) => write!(f, "cluster/{name}"),
        }
    }
}
string_serde!(TargetRef);

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub(crate) Text);

        impl $name {
            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// Returns the first eight characters, for people.
            pub fn short(&self) -> &str {
                self.0.get(..8).unwrap_or(&self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
        impl From<Text> for $name {
            fn from(text: Text) -> Self {
                Self(text)
            }
        }
    };
}

/// A snapshot in a repository: 64 hex digits, held as bytes because there are millions of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub(crate) Hex);

impl SnapshotId {
    /// Returns the first eight characters, for people.
    pub fn short(&self) -> String {
        self.digits(8)
    }

    /// Returns the first characters, all of an id that has fewer.
    pub fn digits(&self, count: usize) -> String {
        self.0.read(|text| text.get(..count).unwrap_or(text).to_owned())
    }

    /// Whether the id begins so.
    pub fn starts_with(&self, digits: &str) -> bool {
        self.0.starts_with(digits)
    }

    /// Whether the id is meant by its first digits; none mean nothing.
    pub fn is_named_by(&self, digits: &str) -> bool {
        !digits.is_empty() && self.0.starts_with(digits)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Into<Hex>> From<T> for SnapshotId {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// A plan is named by the digest of everything in it.
impl From<Digest> for PlanId {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

opaque_id!(/// A repository's own id, from its `config` file: 64 hex digits.
    RepositoryId);
opaque_id!(/// A commit of the config repository: 40 or 64 hex digits, or `worktree` for files that
    /// are not committed.
    CommitId);
opaque_id!(/// A plan: the blake3 digest of everything in it.
    PlanId);
opaque_id!(/// A step of a plan: readable and stable while the same thing is planned, such as
    /// `backup/shop/uploads/local`.
    StepId);
