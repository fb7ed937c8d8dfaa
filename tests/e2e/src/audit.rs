//! What stories check of every answer, whatever was broken meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::app::App;
use crate::load::Record;

/// Requests of one load pod, with the node whose application it stands for.
pub type Book = (String, Vec<Record>);

/// Least share of right labels: no model is perfect, but wrong answers would show.
const RIGHT_PERCENT: usize = 70;
/// Most answers to a text by a revision that differ from its usual one. Rounding in batches of another size may turn a close call;
/// answers that reach the wrong request differ most of the time.
const UNUSUAL_PERCENT: usize = 1;
/// Most of them among so many answers that ended one after the other: what a fault mixes up, it mixes up at one time.
const UNUSUAL_TOGETHER: usize = 5;
const TOGETHER: usize = 50;
/// The longest that a request may be under way, and some more.
const IN_FLIGHT: Duration = Duration::from_secs(40);

/// All requests of an application up to now, each with exactly one record: none is lost, none is answered twice.
///
/// # Errors
/// When that is not so once every request has had its time, or a load pod does not answer.
pub async fn books(application: &App) -> Result<Vec<Book>> {
    let limit = Instant::now() + IN_FLIGHT;
    loop {
        let books: Vec<Book> = application.records().await?.into_iter().collect();
        match each_request_once(&books) {
            Ok(()) => return Ok(books),
            Err(error) if Instant::now() > limit => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

fn each_request_once(books: &[Book]) -> Result<()> {
    for (node, records) in books {
        let numbers: BTreeSet<u64> = records.iter().map(|record| record.number).collect();
        let (requests, kept) = (numbers.len(), records.len());
        ensure!(
            requests == kept,
            "{node}: {kept} records of {requests} requests"
        );
        let last = numbers.last().copied().unwrap_or_default();
        let missing = (0..last).find(|number| !numbers.contains(number));
        ensure!(
            missing.is_none(),
            "{node}: request {missing:?} of {last} has no record"
        );
    }
    Ok(())
}

/// Each good answer names its arm and a known revision: the stable arm only one of the `proven`, the first and what was promoted;
/// the candidate another one than the `first`.
///
/// # Errors
/// Names the first answer that is not so.
pub fn revisions_are_named(
    books: &[Book],
    known: &BTreeSet<String>,
    first: &str,
    proven: &BTreeSet<String>,
) -> Result<()> {
    for (node, record) in each(books).filter(|(_, record)| record.good()) {
        ensure!(
            known.contains(&record.revision),
            "{node}: an answer of a revision that is none of {known:?}: {record:?}"
        );
        let fits = match record.arm.as_str() {
            "stable" => proven.contains(&record.revision),
            "candidate" => record.revision != first,
            _ => false,
        };
        ensure!(fits, "{node}: arm and revision do not fit: {record:?}");
    }
    Ok(())
}

/// Right labels, and the same label whenever a revision is asked the same.
///
/// # Errors
/// When more answers differ than rounding explains.
pub fn labels_are_right(books: &[Book]) -> Result<()> {
    let good = each(books).map(|(_, record)| record);
    let mut good: Vec<&Record> = good.filter(|record| record.good()).collect();
    good.sort_by_key(|record| record.done_milliseconds());
    let are_unusual = unlike_the_usual(&good);
    let (answers, unusual) = (good.len(), count(&are_unusual));
    let right = good.iter().filter(|record| record.right).count();
    let together = are_unusual.windows(TOGETHER).map(count).max().unwrap_or(0);
    println!(
        "    {answers} answers, {right} right, {unusual} unlike the usual answer to that text, at most {together} of {TOGETHER} in a row"
    );
    ensure!(
        right * 100 >= answers * RIGHT_PERCENT,
        "only {right} of {answers} answers are right"
    );
    ensure!(
        unusual * 100 <= answers * UNUSUAL_PERCENT,
        "{unusual} of {answers} answers differ from the usual one to the same text"
    );
    ensure!(
        together <= UNUSUAL_TOGETHER,
        "{together} of {TOGETHER} answers in a row differ from the usual one to the same text"
    );
    Ok(())
}

/// Whether each answer has another label than most answers of its revision to its text.
fn unlike_the_usual(answers: &[&Record]) -> Vec<bool> {
    let text = |record: &Record| (record.revision.clone(), record.example);
    let mut labels: BTreeMap<_, BTreeMap<&str, usize>> = BTreeMap::new();
    for record in answers {
        let of_text = labels.entry(text(record)).or_default();
        *of_text.entry(&record.label).or_default() += 1;
    }
    let usual = |record: &Record| {
        let of_text = labels[&text(record)].iter();
        of_text
            .max_by_key(|(_, count)| **count)
            .map(|(label, _)| *label)
    };
    answers
        .iter()
        .map(|record| usual(record) != Some(record.label.as_str()))
        .collect()
}

fn count(these: &[bool]) -> usize {
    these.iter().filter(|is_so| **is_so).count()
}

/// Each record with the node of its application.
pub fn each(books: &[Book]) -> impl Iterator<Item = (&str, &Record)> {
    books
        .iter()
        .flat_map(|(node, records)| records.iter().map(move |record| (node.as_str(), record)))
}

#[test]
fn answers_that_a_fault_mixed_up_are_told_from_close_calls() {
    let answer = |number: u64, label: &str| Record {
        number,
        sent_milliseconds: number,
        status: 200,
        example: usize::try_from(number % 10).unwrap_or_default(),
        label: label.to_owned(),
        right: true,
        ..Record::default()
    };
    let book = |mixed_up: fn(u64) -> bool| {
        let label = |number| if mixed_up(number) { "other" } else { "usual" };
        let records = (0..2000).map(|number| answer(number, label(number)));
        vec![("node".to_owned(), records.collect())]
    };
    assert!(labels_are_right(&book(|number| number % 150 == 0)).is_ok());
    assert!(labels_are_right(&book(|number| number % 50 == 0)).is_err());
    assert!(labels_are_right(&book(|number| (1000..1008).contains(&number))).is_err());
}
