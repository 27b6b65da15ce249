//! Reads the JSON of an event, where it is plain: what `msgspec` accepts without a second thought.
//!
//! Whatever is unusual (escapes in strings, exponents, nested values, RFC 3339 times, anything wrong) is left to the
//! Python decoder, which has the only say over what is accepted and why not. So both always agree.

/// A piece of the batch's text; `NONE` where a field is missing or null.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

pub const NONE: Span = Span {
    start: u32::MAX,
    len: 0,
};

impl Span {
    pub fn is_none(self) -> bool {
        self.start == u32::MAX
    }

    pub fn of(self, text: &str) -> Option<&str> {
        if self.is_none() {
            return None;
        }
        Some(&text[self.start as usize..(self.start + self.len) as usize])
    }
}

/// `events.Event`, as far as the fold reads it.
#[derive(Clone)]
pub struct Event {
    pub event_id: Span,
    pub event_type: u8,
    pub event_time: i64,
    pub visitor_id: Span,
    pub session_id: Span,
    pub item_id: Span,
    pub category: Span,
    pub brand: Span,
    pub price: Option<f64>,
    pub quantity: Option<f64>,
    pub order_id: Span,
    pub page_url: Span,
    pub source: Span,
    pub country: Span,
    pub device: Span,
    pub bot: bool,
}

impl Event {
    pub fn empty() -> Event {
        Event {
            event_id: NONE,
            event_type: u8::MAX,
            event_time: i64::MIN,
            visitor_id: NONE,
            session_id: NONE,
            item_id: NONE,
            category: NONE,
            brand: NONE,
            price: None,
            quantity: None,
            order_id: NONE,
            page_url: NONE,
            source: NONE,
            country: NONE,
            device: NONE,
            bot: false,
        }
    }
}

/// The bounds of `events.py`, given by Python.
pub struct Limits {
    pub id_chars: usize,
    pub text_chars: usize,
    pub amount: f64,
    pub quantity: f64,
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    base: u32,
}

/// Too unusual to be read here.
struct Unusual;
type Read<T> = Result<T, Unusual>;

impl<'a> Reader<'a> {
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Read<u8> {
        self.space();
        self.bytes.get(self.at).copied().ok_or(Unusual)
    }

    fn expect(&mut self, wanted: u8) -> Read<()> {
        if self.next()? != wanted {
            return Err(Unusual);
        }
        self.at += 1;
        Ok(())
    }

    /// The inside of a string without escapes and control characters.
    fn string(&mut self) -> Read<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        for &byte in &self.bytes[start..] {
            if byte == b'"' {
                self.at += 1;
                return Ok(&self.text[start..self.at - 1]);
            }
            if byte == b'\\' || byte < 0x20 {
                return Err(Unusual);
            }
            self.at += 1;
        }
        Err(Unusual)
    }

    fn word(&mut self, word: &[u8]) -> Read<()> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(Unusual);
        }
        self.at += word.len();
        Ok(())
    }

    /// A number without sign and exponent: its text, and whether it is whole.
    fn number(&mut self) -> Read<(&'a str, bool)> {
        self.space();
        let start = self.at;
        let digits = self.digits();
        if digits == 0 || (digits > 1 && self.bytes[start] == b'0') {
            return Err(Unusual);
        }
        let mut whole = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            whole = false;
            if self.digits() == 0 {
                return Err(Unusual);
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            return Err(Unusual);
        }
        Ok((&self.text[start..self.at], whole))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    fn is_null(&mut self) -> Read<bool> {
        if self.next()? != b'n' {
            return Ok(false);
        }
        self.word(b"null")?;
        Ok(true)
    }

    fn text_field(&mut self, chars_max: usize) -> Read<Span> {
        if self.is_null()? {
            return Ok(NONE);
        }
        let start = self.at + 1;
        let found = self.string()?;
        if found.len() > chars_max && found.chars().count() > chars_max {
            return Err(Unusual);
        }
        Ok(Span {
            start: self.base + start as u32,
            len: found.len() as u32,
        })
    }

    fn id_field(&mut self, chars_max: usize, required: bool) -> Read<Span> {
        let span = self.text_field(chars_max)?;
        if span.is_none() == required && required || !span.is_none() && span.len == 0 {
            return Err(Unusual);
        }
        Ok(span)
    }

    fn amount(&mut self, max: f64) -> Read<Option<f64>> {
        if self.is_null()? {
            return Ok(None);
        }
        let (digits, _) = self.number()?;
        match digits.parse::<f64>() {
            Ok(value) if value <= max => Ok(Some(value)),
            _ => Err(Unusual),
        }
    }

    /// Missing counts as false.
    fn flag(&mut self) -> Read<bool> {
        if self.is_null()? {
            return Ok(false);
        }
        let found = self.bytes[self.at] == b't';
        self.word(if found { b"true" } else { b"false" })?;
        Ok(found)
    }

    /// A value that nobody reads.
    fn skip(&mut self) -> Read<()> {
        match self.next()? {
            b'"' => self.string().map(|_| ()),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' => {
                self.at += 1;
                self.number().map(|_| ())
            }
            b'0'..=b'9' => self.number().map(|_| ()),
            _ => Err(Unusual),
        }
    }

    fn event(&mut self, types: &[String], limits: &Limits) -> Read<Event> {
        let mut event = Event::empty();
        self.expect(b'{')?;
        if self.next()? == b'}' {
            return Err(Unusual);
        }
        loop {
            self.space();
            let name = self.string()?;
            self.expect(b':')?;
            self.space();
            let (id, text) = (limits.id_chars, limits.text_chars);
            match name {
                "event_id" => event.event_id = self.id_field(id, true)?,
                "event_type" => {
                    let found = self.string()?;
                    let code = types.iter().position(|name| name == found).ok_or(Unusual)?;
                    event.event_type = code as u8;
                }
                "event_time" => {
                    let (digits, whole) = self.number()?;
                    if !whole {
                        return Err(Unusual);
                    }
                    event.event_time = digits.parse().map_err(|_| Unusual)?;
                }
                "visitor_id" => event.visitor_id = self.id_field(id, true)?,
                "session_id" => event.session_id = self.id_field(id, false)?,
                "item_id" => event.item_id = self.text_field(id)?,
                "category" => event.category = self.text_field(id)?,
                "brand" => event.brand = self.text_field(id)?,
                "price" => event.price = self.amount(limits.amount)?,
                "quantity" => event.quantity = self.amount(limits.quantity)?,
                "order_id" => event.order_id = self.text_field(id)?,
                "page_url" => event.page_url = self.text_field(text)?,
                "source" => event.source = self.text_field(id)?,
                "country" => event.country = self.text_field(id)?,
                "device" => event.device = self.text_field(id)?,
                "bot" => event.bot = self.flag()?,
                // Not read by the fold, but checked by the decoder.
                "currency" => drop(self.text_field(id)?),
                "referrer" | "search_term" => drop(self.text_field(text)?),
                _ => self.skip()?,
            }
            match self.next()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return Err(Unusual),
            }
        }
        self.at += 1;
        self.space();
        let complete = event.event_type != u8::MAX && event.event_time != i64::MIN;
        if self.at != self.bytes.len() || !complete || event.event_id.is_none() || event.visitor_id.is_none() {
            return Err(Unusual);
        }
        Ok(event)
    }
}

/// The event in a record's value, which is appended to `text`; None, and `text` as before, if it is unusual.
pub fn read_event(value: &[u8], text: &mut String, types: &[String], limits: &Limits) -> Option<Event> {
    let value = std::str::from_utf8(value).ok()?;
    let base = text.len() as u32;
    let mut reader = Reader {
        text: value,
        bytes: value.as_bytes(),
        at: 0,
        base,
    };
    let event = reader.event(types, limits).ok()?;
    text.push_str(value);
    Some(event)
}
