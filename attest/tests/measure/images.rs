//! Firmware images as OVMF lays them out, with whatever the test wants in them.

/// An image of a number of pages, filled with a pattern, with a table of GUIDed entries at its end.
pub struct Image {
    pub bytes: Vec<u8>,
    entries: Vec<([u8; 16], Vec<u8>)>,
}

/// One entry of the SEV metadata: address, size, type.
pub type SevSection = (u32, u32, u32);

/// One entry of the TDX metadata.
#[derive(Clone, Copy)]
pub struct TdxSection {
    pub offset: u32,
    pub length: u32,
    pub address: u64,
    pub size: u64,
    pub kind: u32,
    pub attributes: u32,
}

pub const FOOTER: &str = "96b582de-1fb2-45f7-baea-a366c55a082d";
pub const RESET_BLOCK: &str = "00f771de-1a7e-4fcb-890e-68c77e2fb44e";
pub const HASHES_TABLE: &str = "7255371f-3a3b-4b04-927b-1da6efa8d454";
pub const SEV_METADATA: &str = "dc886566-984a-4798-a75e-5585a7bf67cc";
pub const TDX_METADATA: &str = "e47a6535-984a-4798-865e-4685a7bf8ec2";

impl Image {
    pub fn new(pages: usize) -> Self {
        let bytes = (0..pages * 4096_usize)
            .map(|i| (i * 31 + i / 4096) as u8)
            .collect();
        Self {
            bytes,
            entries: Vec::new(),
        }
    }

    pub fn entry(mut self, guid: &str, data: &[u8]) -> Self {
        self.entries.push((guid_bytes(guid), data.to_vec()));
        self
    }

    /// Writes metadata at a distance from the end, and the entry that points there.
    pub fn metadata(mut self, guid: &str, from_end: u32, content: &[u8]) -> Self {
        let at = self.bytes.len() - from_end as usize;
        self.bytes[at..at + content.len()].copy_from_slice(content);
        self.entry(guid, &from_end.to_le_bytes())
    }

    pub fn sev(self, sections: &[SevSection]) -> Self {
        let mut content = header(b"ASEV", 12, sections.len());
        for (address, size, kind) in sections {
            content.extend(
                [address, size, kind]
                    .map(|field| field.to_le_bytes())
                    .concat(),
            );
        }
        self.metadata(SEV_METADATA, 0x600, &content)
    }

    pub fn tdx(self, sections: &[TdxSection]) -> Self {
        let mut content = header(b"TDVF", 32, sections.len());
        for section in sections {
            content.extend(section.offset.to_le_bytes());
            content.extend(section.length.to_le_bytes());
            content.extend(section.address.to_le_bytes());
            content.extend(section.size.to_le_bytes());
            content.extend(section.kind.to_le_bytes());
            content.extend(section.attributes.to_le_bytes());
        }
        self.metadata(TDX_METADATA, 0xa00, &content)
    }

    /// The image with its table.
    pub fn build(mut self) -> Vec<u8> {
        let mut table = Vec::new();
        for (guid, data) in &self.entries {
            table.extend(data);
            table.extend((data.len() as u16 + 18).to_le_bytes());
            table.extend(guid);
        }
        table.extend((table.len() as u16 + 18).to_le_bytes());
        table.extend(guid_bytes(FOOTER));
        let end = self.bytes.len() - 32;
        self.bytes[end - table.len()..end].copy_from_slice(&table);
        self.bytes
    }
}

fn header(signature: &[u8; 4], entry: usize, count: usize) -> Vec<u8> {
    let fields = [16 + entry * count, 1, count].map(|field| (field as u32).to_le_bytes());
    [&signature[..], &fields.concat()].concat()
}

fn guid_bytes(text: &str) -> [u8; 16] {
    let mut bytes = hex::decode(text.replace('-', "")).unwrap();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes.try_into().unwrap()
}

/// The sections of an image built from OvmfPkg/AmdSev.
pub const SEV_SECTIONS: [SevSection; 6] = [
    (0x80_0000, 0x9000, 1),
    (0x80_a000, 0x3000, 1),
    (0x80_d000, 0x1000, 2),
    (0x80_e000, 0x1000, 3),
    (0x80_f000, 0x1000, 4),
    (0x81_0000, 0x1000, 0x10),
];

/// An image of four pages for SEV-SNP with room for a kernel's hashes.
pub fn sev_image() -> Image {
    Image::new(4)
        .entry(RESET_BLOCK, &0x0080_b004_u32.to_le_bytes())
        .entry(
            HASHES_TABLE,
            &[0x0081_0c00_u32.to_le_bytes(), 0x400_u32.to_le_bytes()].concat(),
        )
        .sev(&SEV_SECTIONS)
}

/// The sections of an image of four pages for TDX: one page of variables, three of code.
pub const TDX_SECTIONS: [TdxSection; 5] = [
    TdxSection {
        offset: 0x1000,
        length: 0x3000,
        address: 0xffff_d000,
        size: 0x3000,
        kind: 0,
        attributes: 1,
    },
    TdxSection {
        offset: 0,
        length: 0x1000,
        address: 0xffff_c000,
        size: 0x1000,
        kind: 1,
        attributes: 0,
    },
    TdxSection {
        offset: 0,
        length: 0,
        address: 0x81_0000,
        size: 0x2000,
        kind: 3,
        attributes: 0,
    },
    TdxSection {
        offset: 0,
        length: 0,
        address: 0x80_9000,
        size: 0x2000,
        kind: 2,
        attributes: 0,
    },
    TdxSection {
        offset: 0,
        length: 0,
        address: 0x80_0000,
        size: 0x6000,
        kind: 3,
        attributes: 0,
    },
];

pub fn tdx_image() -> Image {
    Image::new(4).tdx(&TDX_SECTIONS)
}
