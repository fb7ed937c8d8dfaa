//! Looks through an ONNX file for tensors whose data lies in another file.
//!
//! Old versions of ONNX Runtime follow such locations out of the model's folder, and newer ones read what they name inside;
//! an artifact is self-contained, so every one is refused. The file is walked as raw protobuf, skipping the weights: the
//! check costs no memory and does not depend on what ONNX Runtime would make of the file.
//!
//! Field numbers: onnx/onnx.proto of ONNX 1.19.

use std::io::{self, BufReader, Read, Seek};

/// Deeper nesting than any exporter writes; protobuf itself stops at 100 messages.
const MAX_DEPTH: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    #[error(
        "the graph keeps data of a tensor in another file; export the model as one self-contained file"
    )]
    ExternalData,
    #[error("it is not a complete ONNX file ({0}); export or pack the model again")]
    Malformed(&'static str),
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// The messages that lead to tensors.
#[derive(Debug, Clone, Copy)]
enum Message {
    Model,
    TrainingInfo,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
}

impl Message {
    /// The message behind a length-delimited field, where it can hold a tensor.
    fn child(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::TrainingInfo, 1 | 2) | (Self::Attribute, 6 | 11) => {
                Some(Self::Graph)
            }
            (Self::Model, 20) => Some(Self::TrainingInfo),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Node, 5) | (Self::Function, 11) => Some(Self::Attribute),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => {
                Some(Self::Tensor)
            }
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Some(Self::SparseTensor),
            _ => None,
        }
    }

    /// `TensorProto.external_data` and `TensorProto.data_location`.
    fn is_external_data(self, field: u64) -> bool {
        matches!((self, field), (Self::Tensor, 13))
    }

    fn is_data_location(self, field: u64) -> bool {
        matches!((self, field), (Self::Tensor, 14))
    }
}

/// Reads the whole file and refuses external data. The reader must stand at the file's start.
pub fn check<R: Read + Seek>(mut reader: BufReader<R>) -> Result<(), GraphError> {
    let size_bytes = reader.seek(io::SeekFrom::End(0))?;
    reader.rewind()?;
    let mut walker = Walker {
        reader,
        position: 0,
        has_graph: false,
    };
    walker.message(Message::Model, size_bytes, 0)?;
    if walker.has_graph {
        Ok(())
    } else {
        Err(GraphError::Malformed("it has no graph"))
    }
}

struct Walker<R> {
    reader: BufReader<R>,
    position: u64,
    has_graph: bool,
}

impl<R: Read + Seek> Walker<R> {
    /// Walks one message that ends at `end`, an offset in the file.
    fn message(&mut self, message: Message, end: u64, depth: usize) -> Result<(), GraphError> {
        if depth > MAX_DEPTH {
            return Err(GraphError::Malformed("it is nested too deeply"));
        }
        while self.position < end {
            let key = self.varint(end)?;
            let (field, wire_type) = (key >> 3, key & 7);
            match wire_type {
                0 => {
                    let value = self.varint(end)?;
                    if message.is_data_location(field) && value != 0 {
                        return Err(GraphError::ExternalData);
                    }
                }
                1 => self.skip(8, end)?,
                2 => self.field(message, field, end, depth)?,
                5 => self.skip(4, end)?,
                _ => return Err(GraphError::Malformed("it has a field of an unknown kind")),
            }
        }
        Ok(())
    }

    /// A length-delimited field: another message to walk, or bytes to skip.
    fn field(
        &mut self,
        message: Message,
        field: u64,
        end: u64,
        depth: usize,
    ) -> Result<(), GraphError> {
        let length = self.varint(end)?;
        let field_end = self.position.checked_add(length).filter(|&it| it <= end);
        let field_end = field_end.ok_or(GraphError::Malformed("it is cut short"))?;
        if message.is_external_data(field) {
            return Err(GraphError::ExternalData);
        }
        match message.child(field) {
            Some(child) => {
                self.has_graph |= matches!((message, child), (Message::Model, Message::Graph));
                self.message(child, field_end, depth + 1)
            }
            None => self.skip(length, end),
        }
    }

    fn varint(&mut self, end: u64) -> Result<u64, GraphError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            if self.position >= end {
                return Err(GraphError::Malformed("it is cut short"));
            }
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            self.position += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(GraphError::Malformed("it has a number longer than 64 bits"))
    }

    fn skip(&mut self, length: u64, end: u64) -> Result<(), GraphError> {
        let offset = i64::try_from(length)
            .ok()
            .filter(|_| length <= end - self.position);
        self.reader
            .seek_relative(offset.ok_or(GraphError::Malformed("it is cut short"))?)?;
        self.position += length;
        Ok(())
    }
}
