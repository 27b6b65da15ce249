//! MessagePack as msgspec writes it, and reads it back.

/// Not what this version writes. The Python decoder then has the say over what it is.
#[derive(Debug)]
pub struct Damaged;
pub type Read<T> = Result<T, Damaged>;

pub struct Reader<'a> {
    pub data: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8], at: usize) -> Reader<'a> {
        Reader { data, at }
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(Damaged)?;
        let found = self.data.get(self.at..end).ok_or(Damaged)?;
        self.at = end;
        Ok(found)
    }

    fn byte(&mut self) -> Read<u8> {
        let found = *self.data.get(self.at).ok_or(Damaged)?;
        self.at += 1;
        Ok(found)
    }

    fn unsigned(&mut self, bytes: usize) -> Read<u64> {
        Ok(self
            .take(bytes)?
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    pub fn integer(&mut self) -> Read<i64> {
        let code = self.byte()?;
        Ok(match code {
            0x00..=0x7f => i64::from(code),
            0xe0..=0xff => i64::from(code as i8),
            0xcc => self.unsigned(1)? as i64,
            0xcd => self.unsigned(2)? as i64,
            0xce => self.unsigned(4)? as i64,
            0xcf => i64::try_from(self.unsigned(8)?).map_err(|_| Damaged)?,
            0xd0 => i64::from(self.unsigned(1)? as u8 as i8),
            0xd1 => i64::from(self.unsigned(2)? as u16 as i16),
            0xd2 => i64::from(self.unsigned(4)? as u32 as i32),
            0xd3 => self.unsigned(8)? as i64,
            _ => return Err(Damaged),
        })
    }

    pub fn float(&mut self) -> Read<f64> {
        match self.byte()? {
            0xcb => Ok(f64::from_bits(self.unsigned(8)?)),
            _ => Err(Damaged),
        }
    }

    pub fn boolean(&mut self) -> Read<bool> {
        match self.byte()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            _ => Err(Damaged),
        }
    }

    pub fn is_nil(&mut self) -> bool {
        if self.data.get(self.at) == Some(&0xc0) {
            self.at += 1;
            return true;
        }
        false
    }

    pub fn string(&mut self) -> Read<&'a str> {
        let code = self.byte()?;
        let length = match code {
            0xa0..=0xbf => u64::from(code & 0x1f),
            0xd9 => self.unsigned(1)?,
            0xda => self.unsigned(2)?,
            0xdb => self.unsigned(4)?,
            _ => return Err(Damaged),
        };
        std::str::from_utf8(self.take(length as usize)?).map_err(|_| Damaged)
    }

    pub fn optional_string(&mut self) -> Read<Option<&'a str>> {
        if self.is_nil() {
            return Ok(None);
        }
        self.string().map(Some)
    }

    pub fn binary(&mut self) -> Read<&'a [u8]> {
        let length = match self.byte()? {
            0xc4 => self.unsigned(1)?,
            0xc5 => self.unsigned(2)?,
            0xc6 => self.unsigned(4)?,
            _ => return Err(Damaged),
        };
        self.take(length as usize)
    }

    pub fn array(&mut self) -> Read<usize> {
        let code = self.byte()?;
        Ok(match code {
            0x90..=0x9f => usize::from(code & 0x0f),
            0xdc => self.unsigned(2)? as usize,
            0xdd => self.unsigned(4)? as usize,
            _ => return Err(Damaged),
        })
    }

    /// An array of exactly so many fields: that of another version is left to Python.
    pub fn fields(&mut self, count: usize) -> Read<()> {
        if self.array()? != count {
            return Err(Damaged);
        }
        Ok(())
    }

    pub fn map(&mut self) -> Read<usize> {
        let code = self.byte()?;
        Ok(match code {
            0x80..=0x8f => usize::from(code & 0x0f),
            0xde => self.unsigned(2)? as usize,
            0xdf => self.unsigned(4)? as usize,
            _ => return Err(Damaged),
        })
    }

    /// Past the next value, whatever it is.
    pub fn skip(&mut self) -> Read<()> {
        let mut left = 1usize;
        while left > 0 {
            left -= 1;
            let code = self.byte()?;
            let bytes = match code {
                0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 0,
                0x80..=0x8f => {
                    left += 2 * usize::from(code & 0x0f);
                    0
                }
                0x90..=0x9f => {
                    left += usize::from(code & 0x0f);
                    0
                }
                0xa0..=0xbf => u64::from(code & 0x1f),
                0xc4 | 0xd9 => self.unsigned(1)?,
                0xc5 | 0xda => self.unsigned(2)?,
                0xc6 | 0xdb => self.unsigned(4)?,
                0xcc | 0xd0 => 1,
                0xcd | 0xd1 => 2,
                0xce | 0xd2 => 4,
                0xcf | 0xd3 | 0xcb => 8,
                0xdc => {
                    left += self.unsigned(2)? as usize;
                    0
                }
                0xdd => {
                    left += self.unsigned(4)? as usize;
                    0
                }
                0xde => {
                    left += 2 * self.unsigned(2)? as usize;
                    0
                }
                0xdf => {
                    left += 2 * self.unsigned(4)? as usize;
                    0
                }
                _ => return Err(Damaged),
            };
            self.take(bytes as usize)?;
        }
        Ok(())
    }
}

pub fn integer(out: &mut Vec<u8>, value: i64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        0x1_0000_0000..=i64::MAX => {
            out.push(0xcf);
            out.extend_from_slice(&(value as u64).to_be_bytes());
        }
        -0x20..=-1 => out.push(value as i8 as u8),
        -0x80..=-0x21 => out.extend_from_slice(&[0xd0, value as i8 as u8]),
        -0x8000..=-0x81 => {
            out.push(0xd1);
            out.extend_from_slice(&(value as i16).to_be_bytes());
        }
        -0x8000_0000..=-0x8001 => {
            out.push(0xd2);
            out.extend_from_slice(&(value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

pub fn float(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

pub fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

fn head(out: &mut Vec<u8>, length: usize, short: Option<(u8, usize)>, codes: [u8; 3]) {
    match short {
        Some((code, below)) if length < below => out.push(code | length as u8),
        _ if length < 0x100 && codes[0] != 0 => out.extend_from_slice(&[codes[0], length as u8]),
        _ if length < 0x1_0000 => {
            out.push(codes[1]);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(codes[2]);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

pub fn string(out: &mut Vec<u8>, text: &str) {
    head(out, text.len(), Some((0xa0, 32)), [0xd9, 0xda, 0xdb]);
    out.extend_from_slice(text.as_bytes());
}

pub fn optional_string(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => nil(out),
    }
}

pub fn binary(out: &mut Vec<u8>, data: &[u8]) {
    head(out, data.len(), None, [0xc4, 0xc5, 0xc6]);
    out.extend_from_slice(data);
}

pub fn array(out: &mut Vec<u8>, length: usize) {
    head(out, length, Some((0x90, 16)), [0, 0xdc, 0xdd]);
}

pub fn map(out: &mut Vec<u8>, length: usize) {
    head(out, length, Some((0x80, 16)), [0, 0xde, 0xdf]);
}
