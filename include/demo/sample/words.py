"""The names and texts of the sample. Texts are kept ready for COPY; None is NULL, and "" is not."""

from include.demo.sample.rows import field

# As written, and as spelled in an e-mail address.
GIVEN_NAMES = (
    ("สมชาย", "somchai"), ("สมหญิง", "somying"), ("ณัฐพล", "nattapon"), ("พิมพ์ชนก", "pimchanok"),
    ("กิตติ", "kitti"), ("อรทัย", "orathai"), ("ธนวัฒน์", "thanawat"), ("วราภรณ์", "waraporn"),
    ("ศิริพร", "siriporn"), ("ปิยะ", "piya"), ("มาลี", "malee"), ("อนุชา", "anucha"),
    ("Zoë", "zoe"), ("José", "jose"), ("Anna", "anna"), ("Liam", "liam"), ("Priya", "priya"),
    ("Søren", "soren"), ("Amina", "amina"), ("Kenji", "kenji"), ("Mei-Ling", "meiling"), ("Łukasz", "lukasz"),
    ("Thảo", "thao"), ("Siobhán", "siobhan"),
)  # fmt: skip
FAMILY_NAMES = (
    ("ใจดี", "jaidee"), ("ศรีสุข", "srisuk"), ("วงศ์สวัสดิ์", "wongsawat"), ("แก้วมณี", "kaewmanee"),
    ("บุญมี", "boonmee"), ("ทองดี", "thongdee"), ("รัตนกุล", "rattanakul"), ("พรหมมา", "phromma"),
    ("สุวรรณ", "suwan"), ("จันทร์เพ็ญ", "chanpen"), ("O'Brien", "obrien"), ("García", "garcia"),
    ("Müller", "mueller"), ("Nguyễn", "nguyen"), ("Smith", "smith"), ("Tanaka", "tanaka"),
    ("Okafor", "okafor"),
    ("D\u2019Angelo", "dangelo"), ("Sørensen", "sorensen"), ("Patel", "patel"), ("Kowalska", "kowalska"),
    ("Li", "li"),
)  # fmt: skip
MAIL_DOMAINS = ("example.com", "example.org", "Example.net")

ORGANIZATIONS = (
    ("Chao Phraya Logistics", "เจ้าพระยาโลจิสติกส์"), ("Lanna Coffee", "กาแฟล้านนา"), ("Andaman Resorts", None),
    ("Siam Data Works", "สยามดาต้าเวิร์คส"), ('"Green" Energy & Sons', ""), ("Isan Agritech", "อีสานอะกริเทค"),
    ("O'Connor Legal", None), ("Bright Minds School", "โรงเรียนไบรท์ไมนด์"),
)  # fmt: skip
REGIONS = ("กรุงเทพมหานคร", "เชียงใหม่", "ขอนแก่น", "ภูเก็ต", "Singapore")

BIOS = tuple(
    field(bio)
    for bio in (
        None,
        "",
        'Says "hello" in five languages; it\'s a start.',
        "นักพัฒนาซอฟต์แวร์ ชอบกาแฟกับแมว ☕🐈",
        "Line one\nline two\r\n\tindented with a tab",
        r"Keeps drafts in C:\Users\me\drafts, and writes \N when nothing is known",
        "A line that is only backslash and dot:\n\\.\nand one more after it",
        "Data scientist 👩🏽‍🔬, mother of two, runs on ข้าวเหนียวมะม่วง",
        "  leading and trailing spaces  ",
        "'); DROP TABLE users; -- little Bobby sends his regards",
    )
)
NO_PHONES = (None, None, "")
INTERESTS = tuple(
    field(interests)
    for interests in (
        "{}", "{translation,images}", '{"customer service",ภาษาไทย}', '{"say \\"please\\"","a, b",NULL,""}',
        "{code}", "{code,สรุปเอกสาร,audio}",
    )
)  # fmt: skip
PURCHASE_NOTES = tuple(
    field(note)
    for note in (
        *(None,) * 12,
        "",
        "ออกใบกำกับภาษีในนามบริษัท",
        'Customer wrote: "please, no paper,\nthank you"',
        r"\N",
        "Semi;colon, comma\tand tab",
    )
)
TRANSFER_MESSAGES = tuple(
    field(message)
    for message in (None, "", "ขอบคุณค่ะ 🙏", "For the report, as agreed", 'It\'s "our" budget\nQ3', "🎉🎂")
)
USAGE_DESCRIPTIONS = tuple(
    field(description)
    for description in (
        None, "", "Chat, 12 messages", "แปลเอกสาร 3 หน้า", "Image 1024 x 1024",
        'Summary of "annual report.pdf"',
        "Speech to text, 4 min", "Code review",
        "วิเคราะห์ข้อมูลยอดขาย", "Chat, 3 messages", "Search in files",
    )
)  # fmt: skip
USER_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
)
MODELS = ("chat-large", "chat-small", "image-2", "speech-1", "embed-3")
