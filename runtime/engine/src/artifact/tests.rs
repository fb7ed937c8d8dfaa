//! Property tests of the parsers that read other people's files. Whole folders are tested from outside (tests/engine).

use std::io::{BufReader, Cursor};

use proptest::prelude::*;

use super::external_data::{self, GraphError};
use super::manifest::Manifest;
use super::probes::{self, ClassifierProbe, GeneratorProbe};
use crate::config::Task;

const MODEL: &[u8] = include_bytes!("../../tests/fixture/model/model.onnx");
const EXTERNAL: &[u8] = include_bytes!("../../tests/fixture/external-data.onnx");

fn check(bytes: &[u8]) -> Result<(), GraphError> {
    external_data::check(BufReader::new(Cursor::new(bytes)))
}

/// A length-delimited protobuf field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [bytes.as_slice(), content].concat()
}

/// What `docs/models.md` shows is what this reads.
#[test]
fn the_documents_examples_are_right() {
    let document = include_str!("../../../../docs/models.md");
    let blocks = document.split("```json\n").skip(1);
    let blocks: Vec<&[u8]> = blocks
        .filter_map(|block| block.split("```").next())
        .map(str::as_bytes)
        .collect();
    let [classifier, texts, generator, chats, ..] = blocks.as_slice() else {
        panic!("{} examples", blocks.len());
    };
    let Ok(Manifest::Classifier(manifest)) = Manifest::parse(classifier, Task::TextClassification)
    else {
        panic!("the classifier's model.json");
    };
    probes::parse(texts, |probe: &ClassifierProbe| {
        probe.check(&manifest.labels)
    })
    .unwrap();
    Manifest::parse(generator, Task::TextGeneration).unwrap();
    probes::parse(chats, |probe: &GeneratorProbe| probe.check()).unwrap();
}

#[test]
fn a_self_contained_graph_passes_and_one_with_external_data_does_not() {
    assert!(check(MODEL).is_ok());
    assert!(matches!(check(EXTERNAL), Err(GraphError::ExternalData)));
}

#[test]
fn external_data_is_found_in_a_constant_of_a_nested_graph() {
    // TensorProto.data_location = EXTERNAL, with no location at all.
    let tensor = [14 << 3, 1];
    let constant = field(1, &field(5, &field(5, &tensor)));
    let branch = field(6, &constant);
    let nested = field(7, &field(1, &field(5, &branch)));
    assert!(matches!(check(&nested), Err(GraphError::ExternalData)));
    let sparse = field(7, &[0x7a, 4, 0x0a, 2, 14 << 3, 1]);
    assert!(matches!(check(&sparse), Err(GraphError::ExternalData)));
}

#[test]
fn a_graph_nested_without_end_is_refused() {
    let mut graph = Vec::new();
    for _ in 0..200 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    assert!(matches!(
        check(&field(7, &graph)),
        Err(GraphError::Malformed(_))
    ));
}

#[test]
fn a_graph_that_is_cut_short_never_passes() {
    // The operator set comes last: right before it the graph is complete, and ONNX Runtime refuses what is left.
    let operator_set = field(8, &[0x0a, 0, 0x10, 21]);
    assert!(MODEL.ends_with(&operator_set));
    for cut in 0..MODEL.len() {
        assert_eq!(
            check(&MODEL[..cut]).is_ok(),
            cut == MODEL.len() - operator_set.len(),
            "{cut}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_graph_check_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&bytes);
    }

    #[test]
    fn a_changed_graph_does_not_make_the_check_panic(at in 0..MODEL.len(), byte in any::<u8>()) {
        let mut bytes = MODEL.to_vec();
        bytes[at] = byte;
        let _ = check(&bytes);
    }

    #[test]
    fn no_bytes_make_the_json_parsers_panic(text in ".{0,200}") {
        for task in [Task::TextClassification, Task::TextGeneration] {
            let _ = Manifest::parse(text.as_bytes(), task);
        }
        let _ = probes::parse(text.as_bytes(), |probe: &ClassifierProbe| probe.check(&["a".into()]));
        let _ = probes::parse(text.as_bytes(), GeneratorProbe::check);
    }
}
