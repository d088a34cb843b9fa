#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets ovmf, tdvf, ccel and kernel_image: the smallest inputs that each parser takes."""
import hashlib, pathlib, struct, uuid

SEEDS = pathlib.Path(__file__).parent / "seeds"


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def guid(text):
    return uuid.UUID(text).bytes_le


def firmware(metadata, entries):
    """Metadata, the table of GUIDed entries, the 32 bytes of the reset vector; the first entry points to the metadata."""
    table = b""
    for text, data in entries:
        table += data + struct.pack("<H", len(data) + 18) + guid(text)
    table += struct.pack("<H", len(table) + 18) + guid("96b582de-1fb2-45f7-baea-a366c55a082d")
    end = table + bytes(32)
    return metadata + end, len(end) + len(metadata)


def pointing(metadata, text, others):
    """Twice, since the distance stands in what it measures."""
    _, distance = firmware(metadata, [(text, bytes(4)), *others])
    return firmware(metadata, [(text, struct.pack("<I", distance)), *others])[0]


def sev(sections, others):
    metadata = b"ASEV" + struct.pack("<III", 16 + 12 * len(sections), 1, len(sections))
    metadata += b"".join(struct.pack("<III", *section) for section in sections)
    reset = ("00f771de-1a7e-4fcb-890e-68c77e2fb44e", struct.pack("<I", 0x80B004))
    return pointing(metadata, "dc886566-984a-4798-a75e-5585a7bf67cc", [reset, *others])


def tdx(sections):
    metadata = b"TDVF" + struct.pack("<III", 16 + 32 * len(sections), 1, len(sections))
    metadata += b"".join(struct.pack("<IIQQII", *section) for section in sections)
    return pointing(metadata, "e47a6535-984a-4798-865e-4685a7bf8ec2", [])


def log(algorithms, events):
    spec = b"Spec ID Event03\0" + bytes([0, 0, 0, 0, 0, 2, 0, 2]) + struct.pack("<I", len(algorithms))
    spec += b"".join(struct.pack("<HH", *algorithm) for algorithm in algorithms) + b"\0"
    out = struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(spec)) + spec
    for register, kind, data in events:
        out += struct.pack("<III", register, kind, len(algorithms))
        for number, _ in algorithms:
            digest = hashlib.sha384 if number == 0xC else hashlib.sha256
            out += struct.pack("<H", number) + digest(data).digest()
        out += struct.pack("<I", len(data)) + data
    return out


def kernel(sections, certificate):
    image = bytearray(0x400)
    image[:2] = b"MZ"
    struct.pack_into("<I", image, 0x3C, 0x40)
    struct.pack_into("<4sHH12xHH", image, 0x40, b"PE\0\0", 0x8664, len(sections), 160, 0)
    struct.pack_into("<H", image, 0x58, 0x20B)
    struct.pack_into("<I", image, 0x58 + 60, 0x200)
    struct.pack_into("<I", image, 0x58 + 108, 6)
    struct.pack_into("<II", image, 0x58 + 144, *certificate)
    for i, (start, length) in enumerate(sections):
        struct.pack_into("<II", image, 0x58 + 160 + 40 * i + 16, length, start)
    return bytes(image)


memory, secrets, cpuid = (0x800000, 0x9000, 1), (0x80D000, 0x1000, 2), (0x80E000, 0x1000, 3)
write("ovmf", "three-sections", sev([memory, secrets, cpuid], []))
hashes = ("7255371f-3a3b-4b04-927b-1da6efa8d454", struct.pack("<II", 0x810C00, 0x400))
write("ovmf", "kernel-hashes", sev([memory, secrets, cpuid, (0x810000, 0x1000, 0x10)], [hashes]))
volume, block = (0, 0x1000, 0xFFFFF000, 0x1000, 0, 1), (0, 0, 0x809000, 0x1000, 2, 0)
write("tdvf", "two-sections", tdx([volume, block]))
write("tdvf", "three-sections", tdx([volume, block, (0, 0, 0x810000, 0x2000, 3, 0)]))
tag = struct.pack("<II", 0x8F3B22ED, 5) + b"text\0"
variable = bytes(16) + struct.pack("<QQ", 2, 0) + "PK".encode("utf-16-le")
write("ccel", "empty", log([(0xC, 48)], []))
write("ccel", "events", log([(0xC, 48)], [(1, 4, bytes(4)), (2, 0x80000007, b"action"), (0, 3, b""), (3, 6, tag), (1, 0x80000001, variable)]))
write("ccel", "two-algorithms", log([(0xB, 32), (0xC, 48)], [(4, 0x1234, b"x")]) + b"\xff" * 40)
write("kernel_image", "unsigned", kernel([(0x200, 0x100)], (0, 0)))
write("kernel_image", "signed", kernel([(0x300, 0x80), (0x200, 0x100)], (0x3C0, 0x40)))
