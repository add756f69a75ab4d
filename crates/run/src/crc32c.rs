//! CRC-32C (Castagnoli, reflected polynomial 0x82f63b78): the checksum of TensorBoard's records and of our own lines.
//!
//! It finds every change of up to 32 bits in a row, and of any three bits in lines as short as ours.

/// The checksum of bytes.
///
/// ```
/// // The check value of the polynomial's catalogue.
/// assert_eq!(memtrain_run::crc32c::crc32c(b"123456789"), 0xe306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut value = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[byte] = value;
            byte += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc: u32, &byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}
