//! What the kernel tells of this process, in files of `/proc/self`.

use std::str::FromStr;

/// The number of a line like `VmRSS:     5312 kB`; `None` for a line of another name.
pub fn kibibytes<T: FromStr>(line: &str, name: &str) -> Option<T> {
    let value = line.strip_prefix(name)?.strip_prefix(':')?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::kibibytes;

    #[test]
    fn a_line_is_read_by_its_whole_name() {
        assert_eq!(kibibytes("Rss:        5312 kB", "Rss"), Some(5312));
        assert_eq!(kibibytes::<u64>("RssAnon:    5312 kB", "Rss"), None);
        assert_eq!(kibibytes::<u64>("Threads:    8", "Threads"), None);
    }
}
