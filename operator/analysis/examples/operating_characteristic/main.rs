//! Prints, as Markdown, how often the promises hold and how many requests a decision needs, beside the figures of the
//! analysis note:
//!
//!     cargo run --release -p smallfleet-analysis --example operating_characteristic -- [RUNS] [TABLE]
//!
//! `RUNS` rollouts (2,000 without it) for each row of false rollbacks and a twentieth of it for each row of the other
//! tables; `TABLE` prints that one alone. Seeds count from zero, so the same command prints the same tables.

mod decisions;
mod promises;
mod study;

use std::error::Error;

/// Prints a table of so many rollouts a row.
type Print = fn(u64) -> Result<(), Box<dyn Error>>;

const TABLES: [(&str, Print); 6] = [
    ("false-rollbacks", promises::false_rollbacks),
    ("controls", promises::controls),
    ("bare-process", promises::bare_process),
    ("one-length", decisions::one_length),
    ("pooled-lengths", decisions::pooled_lengths),
    ("promotion", decisions::requests_to_promote),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let runs: u64 = arguments.next().map_or(Ok(2_000), |runs| runs.parse())?;
    let wanted = arguments.next();
    let fewer = (runs / 20).max(1);
    println!("# Simulated rollouts\n");
    println!(
        "Written by `make simulated`: alpha 1 %, beta 5 %, objectives latency (10 %) and errors, a coin of 1/2 on the same node."
    );
    for (table, print) in TABLES {
        if wanted.as_ref().is_none_or(|wanted| wanted == table) {
            print(if table == "false-rollbacks" {
                runs
            } else {
                fewer
            })?;
        }
    }
    Ok(())
}
