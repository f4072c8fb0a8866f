//! Tree blobs: a directory as JSON, one node an entry, in the byte order of the names.
//!
//! Written by hand, byte for byte as Go's `encoding/json` would (trees deduplicate by their bytes),
//! read through serde.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::error::PortError;
use model::ports::mover::{Entry, EntryKind, FileTime, Owner};
use serde::Deserialize;

use super::{quote, time};
use crate::id::Id;

/// Bits of Go's `fs.FileMode`, in which modes are stored.
mod go_mode {
    pub const DIR: u32 = 1 << 31;
    pub const SYMLINK: u32 = 1 << 27;
    pub const DEVICE: u32 = 1 << 26;
    pub const NAMED_PIPE: u32 = 1 << 25;
    pub const SOCKET: u32 = 1 << 24;
    pub const SETUID: u32 = 1 << 23;
    pub const SETGID: u32 = 1 << 22;
    pub const CHAR_DEVICE: u32 = 1 << 21;
    pub const STICKY: u32 = 1 << 20;
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name and metadata; `device` is set only where a file has several names.
    pub entry: Entry,
    /// A file's blobs in order.
    pub content: Vec<Id>,
    /// A directory's tree.
    pub subtree: Option<Id>,
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "dir",
        EntryKind::Symlink => "symlink",
        EntryKind::BlockDevice => "dev",
        EntryKind::CharDevice => "chardev",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
    }
}

fn kind_of(name: &str) -> Option<EntryKind> {
    Some(match name {
        "file" => EntryKind::File,
        "dir" => EntryKind::Directory,
        "symlink" => EntryKind::Symlink,
        "dev" => EntryKind::BlockDevice,
        "chardev" => EntryKind::CharDevice,
        "fifo" => EntryKind::Fifo,
        "socket" => EntryKind::Socket,
        _ => return None,
    })
}

fn to_go_mode(kind: EntryKind, mode: u32) -> u32 {
    let mut go = mode & 0o777;
    go |= match kind {
        EntryKind::File => 0,
        EntryKind::Directory => go_mode::DIR,
        EntryKind::Symlink => go_mode::SYMLINK,
        EntryKind::BlockDevice => go_mode::DEVICE,
        EntryKind::CharDevice => go_mode::DEVICE | go_mode::CHAR_DEVICE,
        EntryKind::Fifo => go_mode::NAMED_PIPE,
        EntryKind::Socket => go_mode::SOCKET,
    };
    for (unix, bit) in
        [(0o4000, go_mode::SETUID), (0o2000, go_mode::SETGID), (0o1000, go_mode::STICKY)]
    {
        if mode & unix != 0 {
            go |= bit;
        }
    }
    go
}

fn from_go_mode(go: u32) -> u32 {
    let mut mode = go & 0o777;
    for (unix, bit) in
        [(0o4000, go_mode::SETUID), (0o2000, go_mode::SETGID), (0o1000, go_mode::STICKY)]
    {
        if go & bit != 0 {
            mode |= unix;
        }
    }
    mode
}

/// Appends a JSON string as Go writes it: HTML characters and line separators escaped.
fn json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &b) in bytes.iter().enumerate() {
        let escape: &[u8] = match b {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            8 => b"\\b",
            12 => b"\\f",
            b'<' | b'>' | b'&' | 0..32 => {
                out.extend_from_slice(&bytes[done..at]);
                out.extend_from_slice(format!("\\u{b:04x}").as_bytes());
                done = at + 1;
                continue;
            }
            0xe2 if matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])) => {
                out.extend_from_slice(&bytes[done..at]);
                out.extend_from_slice(format!("\\u20{:02x}", bytes[at + 2] - 0x80).as_bytes());
                done = at + 3;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(escape);
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

fn number(key: &str, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        out.extend_from_slice(key.as_bytes());
        decimal(value, out);
    }
}

fn decimal(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn moment(key: &str, value: FileTime, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'"');
    time::write(value, out);
    out.push(b'"');
}

fn base64(data: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(BASE64.encode(data).as_bytes());
    out.push(b'"');
}

/// Returns whether two entries are written alike, content and subtree aside.
pub(crate) fn written_alike(a: &Entry, b: &Entry) -> bool {
    // Device numbers are written of files with several names only.
    let devices = a.links <= 1 || a.kind == EntryKind::Directory || a.device == b.device;
    devices
        && a.kind == b.kind
        && a.inode == b.inode
        && a.size == b.size
        && (a.mtime, a.ctime, a.atime) == (b.mtime, b.ctime, b.atime)
        && (a.mode, a.links, a.rdev) == (b.mode, b.links, b.rdev)
        && a.owner == b.owner
        && a.name == b.name
        && a.link_target == b.link_target
        && a.xattrs == b.xattrs
}

/// Builds one tree blob, node by node.
pub struct TreeWriter {
    out: Vec<u8>,
    last: Option<Vec<u8>>,
}

impl Default for TreeWriter {
    fn default() -> Self {
        Self { out: b"{\"nodes\":[".to_vec(), last: None }
    }
}

impl TreeWriter {
    /// Appends a node; its name must come after the last one's.
    pub fn push(&mut self, node: &Node) -> Result<(), PortError> {
        let name = &node.entry.name;
        if self.last.as_ref().is_some_and(|last| last >= name) {
            return Err(PortError::terminal(
                "TreeOrder",
                format!("{} comes twice or out of order", name.escape_ascii()),
            ));
        }
        if self.last.is_some() {
            self.out.push(b',');
        }
        self.last = Some(name.clone());
        write_node(node, &mut self.out);
        Ok(())
    }

    /// Returns a tree with the nodes as they are, whatever their names and order.
    #[cfg(feature = "testing")]
    pub fn unchecked(nodes: &[Node]) -> Vec<u8> {
        let mut writer = Self::default();
        for (number, node) in nodes.iter().enumerate() {
            if number > 0 {
                writer.out.push(b',');
            }
            write_node(node, &mut writer.out);
        }
        writer.finish()
    }

    /// Returns the blob's plain bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"]}\n");
        self.out
    }
}

fn write_node(node: &Node, out: &mut Vec<u8>) {
    let entry = &node.entry;
    out.extend_from_slice(b"{\"name\":");
    write_name(&entry.name, out);
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(kind_name(entry.kind).as_bytes());
    out.push(b'"');
    number(",\"mode\":", u64::from(to_go_mode(entry.kind, entry.mode)), out);
    moment(",\"mtime\":", entry.mtime, out);
    moment(",\"atime\":", entry.atime, out);
    moment(",\"ctime\":", entry.ctime, out);
    out.extend_from_slice(b",\"uid\":");
    decimal(u64::from(entry.owner.uid), out);
    out.extend_from_slice(b",\"gid\":");
    decimal(u64::from(entry.owner.gid), out);
    for (key, text) in [(",\"user\":", &entry.owner.user), (",\"group\":", &entry.owner.group)] {
        if !text.is_empty() {
            out.extend_from_slice(key.as_bytes());
            json_string(text, out);
        }
    }
    number(",\"inode\":", entry.inode, out);
    if entry.links > 1 && entry.kind != EntryKind::Directory {
        number(",\"device_id\":", entry.device, out);
    }
    number(",\"size\":", entry.size, out);
    if entry.kind != EntryKind::Directory {
        number(",\"links\":", entry.links, out);
    }
    if entry.kind == EntryKind::Symlink {
        out.extend_from_slice(b",\"linktarget\":");
        json_string(&String::from_utf8_lossy(&entry.link_target), out);
        if std::str::from_utf8(&entry.link_target).is_err() {
            out.extend_from_slice(b",\"linktarget_raw\":");
            base64(&entry.link_target, out);
        }
    }
    write_xattrs(&entry.xattrs, out);
    number(",\"device\":", entry.rdev, out);
    write_content(node, out);
    out.push(b'}');
}

fn write_name(name: &[u8], out: &mut Vec<u8>) {
    // Nearly all names are written as they are.
    let plain =
        |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&');
    if name.iter().all(plain) {
        out.push(b'"');
        out.extend_from_slice(name);
        out.push(b'"');
        return;
    }
    let mut quoted = String::with_capacity(name.len());
    quote::quote(name, &mut quoted);
    json_string(&quoted, out);
}

fn write_xattrs(xattrs: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) {
    for (i, (name, value)) in xattrs.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b",\"extended_attributes\":[" } else { b"," });
        out.extend_from_slice(b"{\"name\":");
        json_string(&String::from_utf8_lossy(name), out);
        out.extend_from_slice(b",\"value\":");
        base64(value, out);
        out.push(b'}');
    }
    if !xattrs.is_empty() {
        out.push(b']');
    }
}

fn write_content(node: &Node, out: &mut Vec<u8>) {
    let mut text = [0; 64];
    let mut id = |id: &Id, out: &mut Vec<u8>| {
        // The buffer has exactly the length that is needed.
        let _ = hex::encode_to_slice(id.0, &mut text);
        out.push(b'"');
        out.extend_from_slice(&text);
        out.push(b'"');
    };
    if node.entry.kind == EntryKind::File {
        out.extend_from_slice(b",\"content\":[");
        for (i, blob) in node.content.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            id(blob, out);
        }
        out.push(b']');
    } else {
        out.extend_from_slice(b",\"content\":null");
    }
    if let Some(subtree) = &node.subtree {
        out.extend_from_slice(b",\"subtree\":");
        id(subtree, out);
    }
}

#[derive(Deserialize)]
struct TreeJson<'a> {
    #[serde(borrow)]
    nodes: Option<Vec<NodeJson<'a>>>,
}

#[derive(Deserialize)]
struct NodeJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    mode: u32,
    #[serde(borrow, default)]
    mtime: Cow<'a, str>,
    #[serde(borrow, default)]
    atime: Cow<'a, str>,
    #[serde(borrow, default)]
    ctime: Cow<'a, str>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(borrow, default)]
    user: Cow<'a, str>,
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(borrow, default)]
    linktarget: Cow<'a, str>,
    #[serde(borrow, default)]
    linktarget_raw: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    extended_attributes: Option<Vec<XattrJson<'a>>>,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    content: Option<Vec<Id>>,
    #[serde(default)]
    subtree: Option<Id>,
}

#[derive(Deserialize)]
struct XattrJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<Cow<'a, str>>,
}

fn bad(what: impl Into<String>) -> PortError {
    PortError::terminal("BadTree", what)
}

/// Reads a tree blob. Names are checked to be one path component each; order and doubles are not,
/// as old writers made such trees: see `check_names`.
pub fn parse(blob: &[u8]) -> Result<Vec<Node>, PortError> {
    let tree: TreeJson =
        serde_json::from_slice(blob).map_err(|e| bad("tree is not valid JSON").with_source(e))?;
    // Owners repeat from node to node; one allocation serves a run of them.
    let mut names = Names::default();
    tree.nodes.unwrap_or_default().into_iter().map(|node| read_node(node, &mut names)).collect()
}

#[derive(Default)]
struct Names {
    user: Arc<str>,
    group: Arc<str>,
}

fn reuse(last: &mut Arc<str>, text: &str) -> Arc<str> {
    if **last != *text {
        *last = Arc::from(text);
    }
    Arc::clone(last)
}

fn read_time(text: &str) -> Result<FileTime, PortError> {
    if text.is_empty() {
        return Ok(FileTime::default());
    }
    time::parse(text).ok_or_else(|| bad(format!("{text:?} is not a time")))
}

fn read_node(json: NodeJson<'_>, names: &mut Names) -> Result<Node, PortError> {
    let name = quote::unquote(&json.name)
        .ok_or_else(|| bad(format!("{:?} is not a quoted name", json.name)))?;
    let kind = kind_of(&json.kind)
        .ok_or_else(|| bad(format!("{:?} is of unknown type {:?}", json.name, json.kind)))?;
    let decode =
        |text: &str| BASE64.decode(text).map_err(|e| bad("value is not base64").with_source(e));
    let link_target = match &json.linktarget_raw {
        Some(raw) => decode(raw)?,
        None => json.linktarget.as_bytes().to_vec(),
    };
    let xattrs = json
        .extended_attributes
        .unwrap_or_default()
        .iter()
        .map(|x| Ok((x.name.as_bytes().to_vec(), decode(x.value.as_deref().unwrap_or(""))?)))
        .collect::<Result<_, PortError>>()?;
    let mtime = read_time(&json.mtime)?;
    let entry = Entry {
        name,
        kind,
        mode: from_go_mode(json.mode),
        mtime,
        // Most are not kept, and the same as the one before.
        atime: if json.atime == json.mtime { mtime } else { read_time(&json.atime)? },
        ctime: if json.ctime == json.mtime { mtime } else { read_time(&json.ctime)? },
        owner: Owner {
            uid: json.uid,
            gid: json.gid,
            user: reuse(&mut names.user, &json.user),
            group: reuse(&mut names.group, &json.group),
        },
        inode: json.inode,
        device: json.device_id,
        links: json.links,
        size: json.size,
        rdev: json.device,
        link_target,
        xattrs,
    };
    Ok(Node { entry, content: json.content.unwrap_or_default(), subtree: json.subtree })
}

/// Returns why a name cannot be one path component, if so.
pub fn name_problem(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("empty name"),
        b"." | b".." => Some("name that leads elsewhere"),
        _ if name.contains(&b'/') => Some("name with a slash"),
        _ if name.contains(&0) => Some("name with a zero byte"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &[u8], kind: EntryKind) -> Entry {
        Entry {
            name: name.to_vec(),
            kind,
            mode: 0o4755,
            mtime: FileTime { seconds: 1_700_000_000, nanos: 120_000_000 },
            atime: FileTime::default(),
            ctime: FileTime { seconds: -1, nanos: 1 },
            owner: Owner { uid: 7, gid: 0, user: "a<b".into(), group: "".into() },
            inode: 12,
            device: 0,
            links: 1,
            size: 0,
            rdev: 0,
            link_target: Vec::new(),
            xattrs: vec![(b"user.x".to_vec(), vec![0, 255])],
        }
    }

    #[test]
    fn writes_as_go_does() {
        let mut writer = TreeWriter::default();
        let mut file = Node {
            entry: entry(b"a\"b", EntryKind::File),
            content: vec![Id([1; 32])],
            subtree: None,
        };
        file.entry.size = 5;
        writer.push(&file).unwrap();
        assert!(writer.push(&file).is_err(), "doubles are refused");
        let text = String::from_utf8(writer.finish()).unwrap();
        let id = "01".repeat(32);
        assert_eq!(
            text,
            format!(
                "{{\"nodes\":[{{\"name\":\"a\\\\\\\"b\",\"type\":\"file\",\"mode\":8389101,\"\
                 mtime\":\"2023-11-14T22:13:20.12Z\",\"atime\":\"1970-01-01T00:00:00Z\",\"ctime\":\
                 \"1969-12-31T23:59:59.000000001Z\",\"uid\":7,\"gid\":0,\"user\":\"a\\u003cb\",\"\
                 inode\":12,\"size\":5,\"links\":1,\"extended_attributes\":[{{\"name\":\"user.x\",\
                 \"value\":\"AP8=\"}}],\"content\":[\"{id}\"]}}]}}\n"
            )
        );
        assert_eq!(parse(text.as_bytes()).unwrap(), vec![file]);
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(name in proptest::collection::vec(any::<u8>(), 1..20),
                                target in proptest::collection::vec(any::<u8>(), 0..20),
                                mode in 0u32..0o10000) {
            let mut link = entry(&name, EntryKind::Symlink);
            link.link_target = target;
            link.mode = mode;
            let node = Node { entry: link, content: Vec::new(), subtree: None };
            let mut writer = TreeWriter::default();
            writer.push(&node).unwrap();
            prop_assert_eq!(parse(&writer.finish()).unwrap(), vec![node]);
        }

        #[test]
        fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&data);
        }
    }
}
