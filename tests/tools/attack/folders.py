def use_hostile_folders(*a):
    pass
