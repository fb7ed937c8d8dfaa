use serde::Deserialize;

/// A text with its label.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassifierProbe {
    pub input: String,
    pub label: String,
    /// Probability of `label`.
    pub probability: f32,
    /// Largest distance from `probability` that is still right; quantised kernels differ between kinds of CPU.
    pub tolerance: f32,
}

impl ClassifierProbe {
    pub fn check(&self, labels: &[String]) -> Result<(), String> {
        if self.input.trim().is_empty() {
            return Err("input is empty".into());
        }
        if !labels.contains(&self.label) {
            return Err(format!(
                "label {:?} is not one of the model's labels",
                self.label
            ));
        }
        for (field, value) in [
            ("probability", self.probability),
            ("tolerance", self.tolerance),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{field} is {value}; it must be between 0 and 1"));
            }
        }
        Ok(())
    }
}
