# builds the fixture repository in the current folder; early commits carry fixed dates, so that
# their names are always the same, the last ones are some days old
at() { export GIT_AUTHOR_DATE="$1" GIT_COMMITTER_DATE="$1"; }
save() { git add -A && git commit -q -m "$1" "${@:2}"; }

git init -q -b main --template=
at 2024-01-10T09:00:00+00:00
printf '# Garden\n\nA tiny planner.\n' > README.md
mkdir src && printf 'def plant(name):\n    return "planted " + name\n' > src/garden.py
save 'Initial commit'
at 2024-01-12T10:30:00+00:00
printf '*.log\n*.pyc\ncache/\n' > .gitignore
printf 'def water(name):\n    return "watered " + name\n' > src/water.py
save 'Add watering' --author='Mei Lin <mei@garden.example>'
at 2024-02-03T15:00:00+00:00
printf 'rose\ntulip\noak\n' > plants.txt
save 'Add plant list'
git tag -a v0.1 -m 'first release'
at 2024-02-20T08:00:00+00:00
sed -i 's/planted /has planted /' src/garden.py
save 'Fix wording in garden' --author='Mei Lin <mei@garden.example>'
git checkout -q -b feature/harvest
at 2024-03-01T12:00:00+00:00
printf 'def harvest(name):\n    return "harvested " + name\n' > src/harvest.py
save 'Add harvest'
git checkout -q main
at 2024-03-04T12:00:00+00:00
printf 'rose\ntulip\noak\nfern\n' > plants.txt
save 'Add fern'
git checkout -q -b bugfix
at 2024-03-05T12:00:00+00:00
printf 'def water(name, litres=1):\n    return f"watered {name} with {litres} l"\n' > src/water.py
save 'Fix water amount'
git checkout -q main
at 2024-03-06T12:00:00+00:00
git merge -q --no-ff -m 'Merge branch bugfix' bugfix
git tag v0.2
git branch old-idea v0.1
at "$(date -d '30 hours ago' --iso-8601=seconds)"
printf 'rose\ntulip\noak\nfern\nivy\n' > plants.txt
save 'Add ivy' --author='Mei Lin <mei@garden.example>'
at "$(date -d '2 hours ago' --iso-8601=seconds)"
printf '# Garden\n\nA tiny planner.\n\nRun `python src/garden.py`.\n' > README.md
save 'Describe how to run'
git remote add origin https://git.example.com/garden.git

# what lies about: a stash, a staged file, an edited one, new ones and an ignored one
printf 'experiment\n' >> src/garden.py
git stash push -q -m 'wip experiment'
printf 'moss\n' >> plants.txt
printf 'def sow(name):\n    return "sown " + name\n' > src/sow.py
git add src/sow.py
printf 'remember to test\n' > notes.md
mkdir tmp && printf 'x\n' > tmp/scratch.txt
printf 'noise\n' > debug.log
