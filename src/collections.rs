//! Hash tables whose order of iteration is random, but for the simulation, where a run must be the
//! same each time. Make them by `default()`.

#[cfg(simulation)]
type Hasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
#[cfg(not(simulation))]
type Hasher = std::hash::RandomState;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, Hasher>;
pub(crate) type HashSet<T> = std::collections::HashSet<T, Hasher>;
