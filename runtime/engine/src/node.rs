//! The class of node an engine runs on: models are measured and gated once a class, not once a node.

/// Architecture (by Kubernetes' names) and the best vector extension that ONNX Runtime's kernels choose by,
/// e.g. `amd64-avx512vnni`, `amd64-avx2`, `arm64-neon`.
pub fn node_class() -> String {
    format!("{}-{}", architecture(), best_extension())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(target_arch = "x86_64")]
fn best_extension() -> &'static str {
    if std::is_x86_feature_detected!("avx512vnni") {
        "avx512vnni"
    } else if std::is_x86_feature_detected!("avx512f") {
        "avx512"
    } else if std::is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "sse2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn best_extension() -> &'static str {
    // Every 64-bit Arm core has NEON.
    "neon"
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_class_is_an_architecture_and_an_extension() {
        let class = super::node_class();
        let (architecture, extension) = class.split_once('-').unwrap();
        assert!(["amd64", "arm64"].contains(&architecture));
        assert!(["avx512vnni", "avx512", "avx2", "sse2", "neon"].contains(&extension));
    }
}
