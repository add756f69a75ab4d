//! Peak rates of NVIDIA cards, by the name that the driver gives them.

/// Cards by the beginning of the driver's name, the longer beginnings first, with 10¹² dense bf16 operations a second (f32
/// accumulation, boost clock, without sparsity; where NVIDIA prints the rate with sparsity alone, half of it).
///
/// Sources: NVIDIA's data sheets of the A100, A30, A40, L4, L40, L40S, H100, H200, H20, GH200 and B200, of the RTX A6000 and the
/// RTX 6000 Ada; for GeForce the whitepapers of the architectures (GA102, Ada, Blackwell).
const PEAK_TFLOPS: &[(&str, f64)] = &[
    ("NVIDIA A100", 312.0),
    ("NVIDIA A800", 312.0),
    ("NVIDIA A30", 165.0),
    ("NVIDIA A40", 149.7),
    ("NVIDIA RTX A6000", 154.8),
    ("NVIDIA L40S", 362.0),
    ("NVIDIA L40", 181.0),
    ("NVIDIA L4", 121.0),
    ("NVIDIA H100 PCIe", 756.0),
    ("NVIDIA H100 NVL", 835.0),
    ("NVIDIA H100", 989.0),
    ("NVIDIA H800 PCIe", 756.0),
    ("NVIDIA H800", 989.0),
    ("NVIDIA H200 NVL", 835.0),
    ("NVIDIA H200", 989.0),
    ("NVIDIA H20", 148.0),
    ("NVIDIA GH200", 989.0),
    ("NVIDIA B200", 2250.0),
    ("NVIDIA RTX 6000 Ada", 364.0),
    ("NVIDIA GeForce RTX 3090", 71.0),
    ("NVIDIA GeForce RTX 4090", 165.2),
    ("NVIDIA GeForce RTX 5090", 209.5),
];

/// Dense bf16 operations a second of the card of a name, if it is in the table.
pub(super) fn of_card(name: &str) -> Option<f64> {
    // The beginning ends where the name does or a word ends: `NVIDIA L4` is not the beginning of `NVIDIA L40`.
    let is_it = |start: &str| {
        name.strip_prefix(start).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    };
    PEAK_TFLOPS.iter().find(|(start, _)| is_it(start)).map(|(_, tflops)| tflops * 1e12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_known_by_the_names_of_the_driver() {
        let known = [
            ("NVIDIA A100-SXM4-80GB", 312.0),
            ("NVIDIA A100 80GB PCIe", 312.0),
            ("NVIDIA H100 80GB HBM3", 989.0),
            ("NVIDIA H100 PCIe", 756.0),
            ("NVIDIA H100 NVL", 835.0),
            ("NVIDIA H200", 989.0),
            ("NVIDIA H20", 148.0),
            ("NVIDIA L4", 121.0),
            ("NVIDIA L40", 181.0),
            ("NVIDIA L40S", 362.0),
            ("NVIDIA RTX 6000 Ada Generation", 364.0),
            ("NVIDIA GeForce RTX 4090", 165.2),
        ];
        for (name, tflops) in known {
            assert_eq!(of_card(name), Some(tflops * 1e12), "{name}");
        }
        for name in ["", "Tesla V100-SXM2-16GB", "NVIDIA L400", "NVIDIA GeForce RTX 4090D"] {
            assert_eq!(of_card(name), None, "{name}");
        }
    }

    #[test]
    fn no_beginning_hides_a_longer_one() {
        for (number, (name, tflops)) in PEAK_TFLOPS.iter().enumerate() {
            assert_eq!(of_card(name), Some(tflops * 1e12), "entry {number}, {name}");
        }
    }
}
