//! Objects with resource versions, and the log of changes that watches read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{KINDS, KindIndex};

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: KindIndex,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(kind: KindIndex, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// As error messages name it: `daemonsets.apps "intent"`.
    pub fn text(&self) -> String {
        let kind = &KINDS[self.kind];
        let group = if kind.group.is_empty() {
            String::new()
        } else {
            format!(".{}", kind.group)
        };
        format!("{}{group} \"{}\"", kind.plural, self.name)
    }
}

/// One change: the object before and after it. A deletion has no `after`.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub key: Key,
    pub before: Option<Arc<Value>>,
    pub after: Option<Arc<Value>>,
}

/// Everything that the API server keeps. Cloning it is a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Store {
    version: u64,
    serial: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    log: Vec<Change>,
    /// Changes up to this version cannot be watched any more.
    compacted: u64,
}

impl Store {
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Objects of a kind, of one namespace or of all.
    pub fn list(
        &self,
        kind: KindIndex,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        let namespace = namespace.map(str::to_owned);
        self.objects.iter().filter(move |(key, _)| {
            key.kind == kind
                && namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == key.namespace)
        })
    }

    pub fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Changes after a version.
    pub fn changes(&self, after: u64) -> &[Change] {
        let start = self.log.partition_point(|change| change.version <= after);
        &self.log[start..]
    }

    /// A watch from before now has to list again.
    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.log.clear();
    }

    /// Unique and the same in every run. The first eight characters differ, as those of a random uid do.
    pub fn new_uid(&mut self) -> String {
        self.serial += 1;
        let mixed = self.serial.wrapping_mul(0x9e37_79b9) & 0xffff_ffff;
        format!("{mixed:08x}-0000-4000-8000-{:012x}", self.serial)
    }

    /// Keeps an object under a new resource version and returns it.
    pub fn put(&mut self, key: &Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), object.clone());
        self.log.push(Change {
            version: self.version,
            key: key.clone(),
            before,
            after: Some(object.clone()),
        });
        object
    }

    /// Removes an object; the log keeps it with the version of its end.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.version += 1;
        let mut last = before.as_ref().clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let last = Arc::new(last);
        self.log.push(Change {
            version: self.version,
            key: key.clone(),
            before: Some(last.clone()),
            after: None,
        });
        Some(last)
    }
}
