//! Protected things and what recoveries of them left on their targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::receipt::Marker;

use super::content::{self, DUMP, Files, Shared};

/// How a thing is known again; one of each kind that the product brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder: it can only be counted.
    Folder,
    /// A database in a file: a digest, and a counter that lies in the file.
    File,
    /// A database on a server: an identity and a position that belong to the server.
    Server,
}

/// What is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The files or rows.
    pub rows: Shared,
    /// Whose it is; only servers tell.
    pub identity: u64,
    /// Grows with each write.
    pub position: u64,
    /// It cannot be used.
    pub damaged: bool,
}

/// How far a recovery is on its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Something lies beside the original.
    Beside,
    /// The original is kept, what is in place is half old and half new.
    Half,
    /// The restored is in place.
    Swapped,
}

/// A recovery as its target knows it.
#[derive(Clone, Debug)]
pub struct OnHost {
    /// How far it is.
    pub stage: Stage,
    /// When it was begun to write it beside the original.
    pub prepared_ms: i64,
    /// What was restored; `None` until something was written.
    pub beside: Option<Shared>,
    /// What was in place before.
    pub old: Option<Live>,
    /// When it was swapped in, by the clock of whoever did it: that is all that can be written
    /// down.
    pub swapped_ms: i64,
}

/// A protected thing.
#[derive(Clone, Debug)]
pub struct Thing {
    /// How it is known again.
    pub kind: Kind,
    /// It cannot be exchanged at once: a copy of the original is kept, then it is written over.
    pub in_place: bool,
    /// Its target answers.
    pub reachable: bool,
    /// What is there; `None`: nothing.
    pub live: Option<Live>,
    /// Identity and position of the server that it lives on; they stay when it is gone.
    pub server: (u64, u64),
    /// A file of this name cannot be read.
    pub unreadable: Option<String>,
    /// Recoveries that left something on the target, by token.
    pub recoveries: BTreeMap<String, OnHost>,
    /// Tokens that were ever put in place, and when first.
    pub swapped: BTreeMap<String, i64>,
    /// Every content that was ever in place, in the shape in which it is stored, and since when.
    pub history: Vec<(i64, Shared)>,
    /// Since when it is seen as it is: it was changed by something that is no ordinary write.
    pub disturbed_ms: i64,
    /// When it last was absent, empty or out of reach, and until when; `None`: it is so.
    pub away: Vec<(i64, Option<i64>)>,
    /// When it was last measured anew (put in place, taken back, adopted): older points say nothing
    /// of where it should be.
    pub measured_since_ms: i64,
    /// A person rolled a recovery back, and what came back was empty: that is right by their word.
    pub empty_by_word: bool,
    /// When it was last made anew, and so empty.
    pub made_anew_ms: Option<i64>,
}

impl Thing {
    /// Returns a thing with its first content.
    pub fn new(kind: Kind, in_place: bool, rows: Files, now_ms: i64) -> Self {
        let live = Live { rows: Arc::new(rows), identity: 1, position: 10, damaged: false };
        let mut thing = Self {
            kind,
            in_place,
            reachable: true,
            live: Some(live),
            server: (1, 10),
            unreadable: None,
            recoveries: BTreeMap::new(),
            swapped: BTreeMap::new(),
            history: Vec::new(),
            disturbed_ms: now_ms,
            away: Vec::new(),
            measured_since_ms: now_ms - 1,
            empty_by_word: false,
            made_anew_ms: None,
        };
        thing.note(now_ms);
        thing
    }

    /// Returns what a backup stores of something in place.
    pub fn stored(&self, live: &Live) -> Shared {
        match self.kind {
            Kind::Folder => live.rows.clone(),
            Kind::File | Kind::Server => {
                let dump = content::dump(&live.rows, live.position);
                Arc::new(Files::from([(DUMP.to_owned(), dump)]))
            }
        }
    }

    /// Writes down what is in place, for the checks. Call after each change.
    pub fn note(&mut self, now_ms: i64) {
        let stored = self.live.as_ref().map(|live| self.stored(live));
        if let Some(stored) = stored
            && self.history.last().is_none_or(|(_, last)| *last != stored)
        {
            self.history.push((now_ms, stored));
        }
        let away = !self.is_there();
        self.empty_by_word &= away;
        match self.away.last_mut() {
            Some((_, end @ None)) if !away => *end = Some(now_ms),
            Some((_, None)) => {}
            _ if away => self.away.push((now_ms, None)),
            _ => {}
        }
    }

    /// Returns whether it is in reach, in place and not empty.
    pub fn is_there(&self) -> bool {
        self.reachable && self.live.as_ref().is_some_and(|live| !live.rows.is_empty())
    }

    /// Returns whether it was away, without a break, from one instant to another.
    pub fn was_away(&self, from_ms: i64, to_ms: i64) -> bool {
        self.away.iter().any(|(begin, end)| *begin <= from_ms && end.is_none_or(|end| end >= to_ms))
    }

    /// Returns what a probe learns of something in place.
    pub fn marker(&self, live: &Live) -> Marker {
        let mut marker = Marker::default();
        let rows = live.rows.len() as u64;
        match self.kind {
            Kind::Folder => {
                marker.counts.insert("entries", rows);
            }
            Kind::File => {
                marker.counters.insert("changes", live.position);
                marker.counts.insert("rows", rows);
                marker.digest = Some(content::digest(&live.rows).into());
            }
            Kind::Server => {
                marker.identity = Some(format!("cluster-{}", live.identity).into());
                marker.counters.insert("lsn", live.position);
                marker.counts.insert("rows", rows);
            }
        }
        marker
    }

    /// Returns what restored files become when they are put in place.
    pub fn revived(&mut self, stored: &Shared) -> Option<Live> {
        let rows = |bytes: Option<&Vec<u8>>| content::load(bytes?);
        self.server.1 += 1;
        let (identity, at) = self.server;
        let (rows, position) = match self.kind {
            Kind::Folder => (stored.clone(), at),
            Kind::File => {
                let (rows, position) = rows(stored.get(DUMP))?;
                (Arc::new(rows), position)
            }
            Kind::Server => (Arc::new(rows(stored.get(DUMP))?.0), at),
        };
        Some(Live { rows, identity, position, damaged: false })
    }

    /// Puts something empty in place of whatever is there, as a declaration says it.
    pub fn make_anew(&mut self, now_ms: i64) {
        self.server.1 += 1;
        let (identity, position) = self.server;
        self.live = Some(Live { rows: Shared::default(), identity, position, damaged: false });
        self.note(now_ms);
        self.empty_by_word = true;
        self.made_anew_ms = Some(now_ms);
    }

    /// Returns the recovery that is in place and not ended.
    pub fn open_recovery(&self) -> Option<&str> {
        let open = self.recoveries.iter().find(|(_, r)| r.stage != Stage::Beside);
        open.map(|(token, _)| token.as_str())
    }
}
