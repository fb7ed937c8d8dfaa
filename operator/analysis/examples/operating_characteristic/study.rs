//! Many rollouts on all cores.

use smallfleet_analysis::AnalysisError;

/// `of` every seed below `runs`, in no order.
pub fn for_seeds<T: Send>(
    runs: u64,
    of: impl Fn(u64) -> Result<T, AnalysisError> + Sync,
) -> Result<Vec<T>, AnalysisError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = |first: usize| -> Result<Vec<T>, AnalysisError> {
        (first as u64..runs).step_by(threads).map(&of).collect()
    };
    let part = &part;
    std::thread::scope(|scope| {
        let spawn = |first| scope.spawn(move || part(first));
        let parts: Vec<_> = (0..threads).map(spawn).collect();
        let mut all = Vec::new();
        for part in parts {
            match part.join() {
                Ok(part) => all.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

/// The value that this share of all does not exceed; `-` where more are missing.
pub fn quantile(values: impl IntoIterator<Item = Option<u64>>, share: f64) -> String {
    let mut values: Vec<u64> = values
        .into_iter()
        .map(|value| value.unwrap_or(u64::MAX))
        .collect();
    values.sort_unstable();
    match values.get((values.len() as f64 * share) as usize) {
        None | Some(&u64::MAX) => "-".to_owned(),
        Some(value) => value.to_string(),
    }
}

/// `3.5 %`
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}
