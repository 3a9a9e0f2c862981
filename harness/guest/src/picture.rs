// SPDX-License-Identifier: GPL-2.0

//! Pictures as PNG, not compressed, in a line of text.

/// Returns the lines of a picture with 8 bits for each of red, green and blue, as PNG in base 64.
pub fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u32) -> String {
    let mut lines = Vec::new();
    for y in 0..height {
        // It is no difference to another line.
        lines.push(0);
        for x in 0..width {
            lines.extend_from_slice(&pixel(x, y).to_be_bytes()[1..]);
        }
    }

    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"IDAT", &zlib(&lines));
    chunk(&mut file, b"IEND", &[]);
    base64(&file)
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    file.extend_from_slice(&(data.len() as u32).to_be_bytes());
    let begin = file.len();
    file.extend_from_slice(name);
    file.extend_from_slice(data);
    let sum = crc(&file[begin..]);
    file.extend_from_slice(&sum.to_be_bytes());
}

fn crc(data: &[u8]) -> u32 {
    let add = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => crc >> 1 ^ 0xedb8_8320,
        })
    };
    !data.iter().fold(!0, add)
}

/// A stream of blocks that are stored as they are.
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = data.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let len = block.len() as u16;
        stream.push(blocks.peek().is_none().into());
        stream.extend_from_slice(&len.to_le_bytes());
        stream.extend_from_slice(&(!len).to_le_bytes());
        stream.extend_from_slice(block);
    }

    let (a, b) = data.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (a + b) % 65521)
    });
    stream.extend_from_slice(&(b << 16 | a).to_be_bytes());
    stream
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |part: &[u8], i: usize| {
        let byte = |i: usize| part.get(i).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        match i > part.len() {
            true => '=',
            false => DIGITS[(bits >> (18 - 6 * i) & 63) as usize] as char,
        }
    };
    data.chunks(3)
        .flat_map(|part| (0..4).map(move |i| digit(part, i)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums() {
        assert_eq!(crc(b"IEND"), 0xae42_6082);
        assert_eq!(zlib(b"abc")[..2], [0x78, 0x01]);
        assert_eq!(zlib(b"abc")[10..], [0x02, 0x4d, 0x01, 0x27]);
    }

    #[test]
    fn base_64() {
        for (data, text) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj")] {
            assert_eq!(base64(data.as_bytes()), text);
        }
    }
}
