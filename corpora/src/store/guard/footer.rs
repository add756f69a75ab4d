//! The footer of a Parquet file: its schema and the places of its columns.

use parquet::errors::ParquetError;

use super::super::table_file::TableFile;
use super::thrift::Value::{Bool, List, Of, Struct, Structs};
use super::thrift::{BINARY, BYTE, DOUBLE, I16, I32, I64, Known, LIST, STRUCT, Walk, Wrong};

/// The largest footer that is parsed, which takes some fifteen times as much memory. Those of large corpora have some hundred KiB.
const MAX_FOOTER_BYTES: u64 = 16 << 20;
/// Nodes of a schema: each column that is read has buffers of its own.
const MAX_NODES: u64 = 10_000;
/// Groups inside one another. The decoder descends by recursion.
const MAX_SCHEMA_DEPTH: usize = 32;
/// The longest value of a column whose values have all the same length.
const MAX_TYPE_BYTES: i32 = 1 << 20;

const NOTHING: Known = &[];
const UNIT: Known = &[(1, Struct(NOTHING)), (2, Struct(NOTHING)), (3, Struct(NOTHING))];
const TIME: Known = &[(1, Bool), (2, Struct(UNIT))];
const LOGICAL_TYPE: Known = &[
    (5, Struct(&[(1, Of(I32)), (2, Of(I32))])),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Of(BYTE)), (2, Bool)])),
    (16, Struct(&[(1, Of(BYTE))])),
    (17, Struct(&[(1, Of(BINARY))])),
    (18, Struct(&[(1, Of(BINARY)), (2, Of(I32))])),
];
const NODE: Known = &[
    (1, Of(I32)),
    (TYPE_LENGTH, Of(I32)),
    (3, Of(I32)),
    (4, Of(BINARY)),
    (NUM_CHILDREN, Of(I32)),
    (6, Of(I32)),
    (7, Of(I32)),
    (8, Of(I32)),
    (9, Of(I32)),
    (10, Struct(LOGICAL_TYPE)),
];
const TYPE_LENGTH: i16 = 2;
const NUM_CHILDREN: i16 = 5;
const PAIR: Known = &[(1, Of(BINARY)), (2, Of(BINARY))];
pub(super) const STATISTICS: Known = &[
    (1, Of(BINARY)),
    (2, Of(BINARY)),
    (3, Of(I64)),
    (4, Of(I64)),
    (5, Of(BINARY)),
    (6, Of(BINARY)),
    (7, Bool),
    (8, Bool),
    (9, Of(I64)),
];
const BOX: Known = &[
    (1, Of(DOUBLE)),
    (2, Of(DOUBLE)),
    (3, Of(DOUBLE)),
    (4, Of(DOUBLE)),
    (5, Of(DOUBLE)),
    (6, Of(DOUBLE)),
    (7, Of(DOUBLE)),
    (8, Of(DOUBLE)),
];
const COLUMN: Known = &[
    (1, Of(I32)),
    (2, List(I32)),
    (3, List(BINARY)),
    (4, Of(I32)),
    (5, Of(I64)),
    (6, Of(I64)),
    (7, Of(I64)),
    (8, Structs(PAIR)),
    (9, Of(I64)),
    (10, Of(I64)),
    (11, Of(I64)),
    (12, Struct(STATISTICS)),
    (13, Structs(&[(1, Of(I32)), (2, Of(I32)), (3, Of(I32))])),
    (14, Of(I64)),
    (15, Of(I32)),
    (16, Struct(&[(1, Of(I64)), (2, List(I64)), (3, List(I64))])),
    (17, Struct(&[(1, Struct(BOX)), (2, List(I32))])),
];
const CHUNK: Known = &[
    (1, Of(BINARY)),
    (2, Of(I64)),
    (3, Struct(COLUMN)),
    (4, Of(I64)),
    (5, Of(I32)),
    (6, Of(I64)),
    (7, Of(I32)),
    (8, Of(STRUCT)),
    (9, Of(BINARY)),
];
const GROUP: Known = &[
    (1, Structs(CHUNK)),
    (2, Of(I64)),
    (3, Of(I64)),
    (4, Structs(&[(1, Of(I32)), (2, Bool), (3, Bool)])),
    (5, Of(I64)),
    (6, Of(I64)),
    (7, Of(I16)),
];
const FILE: Known = &[
    (1, Of(I32)),
    (SCHEMA, Structs(NODE)),
    (3, Of(I64)),
    (4, Structs(GROUP)),
    (5, Structs(PAIR)),
    (6, Of(BINARY)),
    (7, Structs(UNIT)),
    (8, Of(STRUCT)),
    (9, Of(BINARY)),
];
const SCHEMA: i16 = 2;

/// Checks the footer of a file, so that the decoder can parse it in bounded memory and depth.
pub(in super::super) fn check_footer(file: &TableFile) -> Result<(), ParquetError> {
    use parquet::file::reader::ChunkReader;
    const TAIL: u64 = 8;
    let broken = |detail: String| ParquetError::General(detail);
    let tail_at = file.len.checked_sub(TAIL).ok_or_else(|| broken("it has no footer".to_owned()))?;
    let tail = file.get_bytes(tail_at, TAIL as usize)?;
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if length > MAX_FOOTER_BYTES {
        return Err(broken(format!("a footer of {length} bytes; at most 16 MiB are read")));
    }
    let start = tail_at.checked_sub(length).ok_or_else(|| broken(format!("a footer of {length} bytes")))?;
    check(&file.get_bytes(start, length as usize)?).map_err(|wrong| match wrong {
        Wrong::Short => broken("the footer ends early".to_owned()),
        Wrong::Claim(what) => broken(format!("the footer holds {what}")),
    })
}

fn check(footer: &[u8]) -> Result<(), Wrong> {
    let mut walk = Walk::new(footer);
    walk.fields(|walk, id, kind| match (id, FILE.iter().find(|(known, _)| *known == id)) {
        (SCHEMA, _) if kind == LIST => schema(walk),
        (_, Some((_, value))) => walk.value(value, kind),
        (_, None) => walk.skip(kind),
    })
}

/// The nodes of a schema stand in the order of a walk down the tree, each with the number of its children.
fn schema(walk: &mut Walk<'_>) -> Result<(), Wrong> {
    let count = walk.list(STRUCT)?;
    if count > MAX_NODES {
        return Err(Wrong::Claim("a schema of more than 10,000 nodes"));
    }
    // How many children of each open group are still to come.
    let mut open: Vec<u64> = Vec::new();
    for left in (0..count).rev() {
        let (mut children, mut length) = (0, 0);
        walk.known(NODE, &mut |id, value| match id {
            NUM_CHILDREN => children = value,
            TYPE_LENGTH => length = value,
            _ => {}
        })?;
        if length > MAX_TYPE_BYTES {
            return Err(Wrong::Claim("a type of more than 1 MiB"));
        }
        let children = u64::try_from(children).ok().filter(|&children| children <= left);
        let children = children.ok_or(Wrong::Claim("a group of more children than the schema has nodes"))?;
        while open.last() == Some(&0) {
            open.pop();
        }
        if let Some(siblings) = open.last_mut() {
            *siblings -= 1;
        }
        open.push(children);
        if open.len() > MAX_SCHEMA_DEPTH {
            return Err(Wrong::Claim("a schema of more than 32 levels"));
        }
    }
    Ok(())
}
