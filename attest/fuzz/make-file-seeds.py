#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets that read files and answers: made of the seeds that make-seeds.py writes."""
import base64, json, pathlib, struct

SEEDS = pathlib.Path(__file__).parent / "seeds"
VCEK = (SEEDS / "vek" / "vcek").read_bytes()
COLLATERAL = (SEEDS / "tdx_collateral" / "smallest").read_bytes()


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def der(tag, *parts):
    body = b"".join(parts)
    length = bytes([len(body)]) if len(body) < 128 else b"\x82" + struct.pack(">H", len(body))
    return bytes([tag]) + length + body


def pem(data):
    lines = base64.encodebytes(data).decode().replace("\n", "")
    body = "\n".join(lines[i:i + 64] for i in range(0, len(lines), 64))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n".encode()


def revocation_list():
    """Version 2 with one entry and the number of the list (RFC 5280, section 5.1); nobody signs it."""
    pss = der(0x30, der(0x06, bytes.fromhex("2a864886f70d01010a")))
    common_name = der(0x30, der(0x06, bytes.fromhex("550403")), der(0x0C, b"ARK-Milan"))
    name = der(0x30, der(0x31, common_name))
    this, following = der(0x17, b"260101000000Z"), der(0x17, b"270101000000Z")
    entry = der(0x30, der(0x02, b"\x07"), this)
    number = der(0x30, der(0x06, bytes.fromhex("551d14")), der(0x04, der(0x02, b"\x01")))
    signed = der(0x30, der(0x02, b"\x01"), pss, name, this, following, der(0x30, entry), der(0xA0, der(0x30, number)))
    return der(0x30, signed, pss, der(0x03, bytes(257)))


def simulated_certificate():
    tcb = {"bootloader": 1, "microcode": 1, "snp": 1, "tee": 1}
    info = {"alias_check_complete": True, "ciphertext_hiding_dram_en": False, "ecc_en": True, "rapl_dis": False,
            "reserved": 0, "smt_en": True, "tio_en": False, "tsme_en": False}
    hardware = {"sev-snp": {
        "chip_id": "07" * 64, "committed_tcb": tcb, "current_mit_vector": "0000000000000001", "current_tcb": tcb,
        "platform_info": info, "product": "genoa", "report_version": 5, "reported_tcb": tcb, "signing_key": "vcek"}}
    hardware = json.dumps(hardware).encode()
    times = struct.pack(">qq", 1_795_000_000, 1_895_000_000)
    name = struct.pack(">H", 7) + b"agent-1"
    return (b"TRBSIMC\x02" + bytes([1] * 32 + [2] * 32) + times + name + struct.pack(">H", len(hardware)) + hardware
            + bytes(64))


def simulated_list():
    times = struct.pack(">qq", 1_795_000_000, 1_895_000_000)
    return b"TRBSIML\x01" + bytes([1] * 32) + times + struct.pack(">H", 1) + bytes([2] * 32) + bytes(64)


def pcs_answers():
    chain = pem(VCEK).replace(b"\n", b"%0A").replace(b" ", b"%20")
    signature = "07" * 64
    info = f'{{"tcbInfo":{{"z":1, "a":2}},"signature":"{signature}"}}'.encode()
    identity = f'{{"enclaveIdentity":{{"q":1}},"signature":"{signature}"}}'.encode()
    # Both spellings of a list: a cache sends hexadecimal.
    return b"\xff".join([chain, b"308200010a", b"3082000102", info, identity])


places = {0: revocation_list(), 2: pem(VCEK), 3: VCEK, 5: VCEK, 6: COLLATERAL, 7: simulated_list()}
for place, content in places.items():
    write("collateral_file", f"place-{place}", bytes([place]) + content)
write("simulated_certificate", "snp", simulated_certificate())
write("input_kind", "container", (SEEDS / "evidence" / "snp").read_bytes())
write("input_kind", "report", (SEEDS / "snp_report" / "version-5").read_bytes())
write("input_kind", "quote", (SEEDS / "tdx_quote" / "version-4-body-2").read_bytes())
write("input_kind", "json", COLLATERAL)
write("input_kind", "pem", b"Subject: a chip\n" + pem(VCEK))
write("certificates", "der", VCEK)
write("certificates", "pem", pem(VCEK))
write("kds_chain", "one", pem(VCEK))
write("pcs_answers", "whole", pcs_answers())
write("retry_header", "seconds", b"7")
write("retry_header", "date", b"Wed, 21 Oct 2015 07:28:00 GMT")
