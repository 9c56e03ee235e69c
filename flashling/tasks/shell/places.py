"""Where a thing is, as people say it: here, in a folder, in a folder of the home directory."""

from __future__ import annotations

HERE = {
    "en": ("", "", "here", "in this folder", "in the current directory", "in this directory", "in the current folder",
           "under the current directory", "in here", "in the folder I'm in", "in the working directory"),
    "zh": ("", "", "当前目录下", "当前目录里", "这里", "这个文件夹里", "当前文件夹", "本目录下", "当前目录中", "我现在这个目录里", "这儿", "这底下", "这个目录下面"),
}  # fmt: skip
HOME = {
    "en": ("in my home folder", "in my home directory", "in the home folder", "in ~", "under ~", "in my home", "below my home directory", "under my home folder"),
    "zh": ("家目录下", "家目录里", "我的家目录里", "主目录下", "主目录里", "~ 下", "~里", "在家目录底下", "用户主目录里"),
}  # fmt: skip
INSIDE = {
    "en": ("in {}", "in {}", "in {}", "in {}", "under {}", "inside {}", "in the {} folder", "in the {} directory", "in the directory {}",
           "in folder {}", "from {}", "in my {} folder", "within {}", "below {}", "inside the folder {}", "in the folder {}", "in the {} dir",
           "inside the {} directory", "(in {})", "(folder {})"),
    "zh": ("{}里", "{}目录下", "{}目录里", "{}下", "{}文件夹里", "在{}里", "{} 目录中", "{}下面", "{}里面", "{}里头", "{}底下", "{}这个目录下",
           "{}那个文件夹里", "{}这个文件夹里", "目录{}下", "文件夹{}里", "在{}文件夹里面", "在 {} 底下", "{}目录里头", "我那个{}文件夹里"),
}  # fmt: skip
# a file's name and its folder said apart, within a sentence
APART = {
    "en": ("{} in {}", "{} in {}", "{} in {}", "{} in the {} folder", "{} from {}", "{} (in {})", "{} under {}", "{}, which is in {},", "{1}'s {0}",
           "the {} in {}", "the {1} folder's {0}", "{0} ({1} folder)", "{0} in folder {1}", "{0} in the {1} directory", "{0} (the one in {1})",
           "the {0} inside {1}", "{0} from the {1} folder", "that {0} in {1}", "{0} (folder: {1})", "the {0} that's in {1}", "the {1} directory's {0}",
           "{0} of the folder {1}", "the file {0} in {1}", "{0} below {1}", "my {0} in {1}", "{0} (it's in {1})", "the {0} under directory {1}"),
    "zh": ("{1}里的{0}", "{1}里的{0}", "{1}下的 {0}", "{1}目录里的{0}", "{1} 里面的 {0}", "{1}文件夹里的 {0}", "{0}(在{1}里)", "{0}(在 {1} 目录下)",
           "{1}目录下 {0}", "{1}底下的{0}", "{1}中的 {0}", "{1}底下那个{0}", "{1}那个文件夹里的{0}", "{1}里头的{0}", "{0}({1}下面)", "{0}({1}里)",
           "{1}里那个{0}", "文件夹{1}里的{0}", "目录{1}下的{0}", "{1}这个目录里的{0}", "{1}里面那个{0}", "{1}下面的{0}", "放在{1}里的{0}", "{1}目录的{0}",
           "{0}({1}文件夹)", "{1}下那个{0}", "{1}文件夹下的{0}", "我{1}里的{0}"),
}  # fmt: skip
# what a file is called in words, by its extension, with the file itself in brackets behind
KINDS = {
    "en": {"csv": "table", "tsv": "table", "log": "log", "out": "log", "txt": "text file", "md": "notes", "conf": "config", "ini": "settings",
           "py": "script", "sh": "script", "json": "data", "jsonl": "records", "xlsx": "sheet", "pdf": "document", "": "file"},
    "zh": {"csv": "表", "tsv": "表格", "log": "日志", "out": "日志", "txt": "文本", "md": "笔记", "conf": "配置", "ini": "配置文件",
           "py": "脚本", "sh": "脚本", "json": "数据", "jsonl": "记录", "xlsx": "表格", "pdf": "文档", "": "文件"},
}  # fmt: skip
IN_WORDS = {
    "en": ("the {kind} ({file})", "my {word} {kind} ({file})", "the {word} {kind} ({file})", "the {word} {kind}, {file},", "{file} (the {word} {kind})"),
    "zh": ("{word}{kind}({file})", "{word}{kind}({file})", "那个{kind}({file})", "{kind}({file})", "我的{word}{kind}({file})", "{word}那份{kind}({file})",
           "{file}这个{kind}", "{word}{kind},就是{file},", "{file}({word}{kind})"),
}  # fmt: skip
# the folder as an afterthought, behind a whole request; the second kind where "it" could be another
LATER = {
    "en": ((", it's in {1}", ", it's in the {1} folder", " - it's in {1}", ", the one in {1}", " (the one in {1})", " (it's in the {1} directory)",
            ", that's in {1}", ", it sits in {1}", ", you'll find it in {1}", ", folder {1}", ", it's under {1}", ", in folder {1}", ", look in {1}"),
           (", {0} is in {1}", " ({0} is in {1})", " - {0} is in the {1} folder", ", {0} sits in {1}", " ({0} lives in the {1} directory)")),
    "zh": ((",在{1}里", ",在{1}下面", ",它在{1}里", ",就在{1}目录下", "(在{1}里)", "({1}下面)", "({1}目录下的)", ",{1}里那个", ",{1}底下那个", ",文件在{1}里",
            ",在{1}文件夹里头", ",放在{1}里的那个", ",是{1}里的那个"),
           (",{0}在{1}里", "({0}在{1}里)", ",{0}在{1}目录下", ",{0}放在{1}里面", "({0}在{1}下面)")),
}  # fmt: skip
# ... or said first
FIRST = {
    "en": ("{0} is in {1}, ", "there's {0} in {1}, ", "in {1} there is {0}: ", "I have {0} in {1}. "),
    "zh": ("{0}在{1}里,", "{1}里有个{0},", "{0}在{1}目录下,", "{1}底下有个{0},", "{1}里面那个{0},"),
}  # fmt: skip
# folders of the home directory that every desktop makes, typed as the request's Latin name
DESKTOP = (
    ("Downloads", "下载"), ("Downloads", "下载"), ("Desktop", "桌面"), ("Desktop", "桌面"), ("Documents", "我的文档"),
    ("Pictures", "图片"), ("Music", "音乐"), ("Videos", "视频"),
)  # fmt: skip

# a file said apart travels through a phrase as OPEN name GAP folder END, until the whole is known
OPEN, GAP, END = "\ue000", "\ue001", "\ue002"
